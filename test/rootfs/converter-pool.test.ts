import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseDigest } from "../../src/reference/digest.ts";
import { convertLayer, type ConvertTarget, type Growth } from "../../src/rootfs/convert.ts";
import { createConverterPool, type ConverterPool } from "../../src/rootfs/converter-pool.ts";
import { compileSource, type Compiled } from "../support/compiled.ts";
import { archive, entry } from "../support/tar-builder.ts";

let compiled: Compiled;
let dir = "";
beforeAll(() => {
  compiled = compileSource(["util", "reference", "formats", "rootfs"]);
  dir = mkdtempSync(join(tmpdir(), "flamebox-pool-"));
});
afterAll(() => {
  compiled[Symbol.dispose]();
  rmSync(dir, { recursive: true, force: true });
});

async function* chunked(data: Uint8Array, size = 50_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

/** Layers of different sizes, none of which compresses well. */
const TARS = Array.from({ length: 6 }, (_, i) => {
  const data = Buffer.alloc((i + 1) * 300_000);
  for (let at = 0; at < data.length; at += 4) data.writeUInt32LE((at * 2_654_435_761 + i) >>> 0, at);
  return archive(entry({ name: `f${i}` }, data), entry({ name: "small" }, "x"));
});

const targetOf = (name: string): ConvertTarget => ({
  blobPath: join(dir, `${name}.blob`),
  indexPath: join(dir, `${name}.index`),
});

const MODES = [
  ["with threads", () => compiled.url("rootfs/convert-worker.ts")],
  ["without the compiled worker", () => new URL("file:///nonexistent/convert-worker.js")],
] as const;

describe.each(MODES)("%s", (_, workerUrl) => {
  let pool: ConverterPool;
  beforeAll(() => {
    pool = createConverterPool({ workers: 2, workerUrl: workerUrl() });
  });
  afterAll(() => pool[Symbol.asyncDispose]());

  it("tells how a layer grows, and ends with what the listener throws", async () => {
    const tar = TARS[5] as Uint8Array;
    const told: number[] = [];
    const onGrowth = ({ tarBytes }: Growth) => void told.push(tarBytes);
    const { blobPath, indexPath } = targetOf("grown");
    await pool.convertLayer(chunked(tar), "none", { blobPath, indexPath }, { onGrowth });
    for (const path of [blobPath, indexPath]) rmSync(path);
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect([told.length > 1, told.at(-1)]).toEqual([true, tar.length]);
    const stop = ({ tarBytes }: Growth) => {
      if (tarBytes > 2 ** 20) throw new Error("enough");
    };
    const stopped = targetOf("stopped");
    const stopping = pool.convertLayer(chunked(tar), "none", stopped, { onGrowth: stop });
    await expect(stopping).rejects.toThrow("enough");
    expect(readdirSync(dir).filter((name) => name.startsWith("stopped"))).toEqual([]);
  });

  it("converts as convertLayer does, many at once", async () => {
    const results = await Promise.all(
      TARS.map((tar, i) =>
        pool.convertLayer(chunked(gzipSync(tar, { level: 1 })), "gzip", targetOf(`p${i}`)),
      ),
    );
    for (const [i, tar] of TARS.entries()) {
      const [own, pooled] = [targetOf("own"), targetOf(`p${i}`)];
      expect(results[i]).toEqual(await convertLayer(chunked(tar), "none", own));
      expect(readFileSync(pooled.blobPath).equals(readFileSync(own.blobPath))).toBe(true);
      expect(readFileSync(pooled.indexPath).equals(readFileSync(own.indexPath))).toBe(true);
      for (const path of [own.blobPath, own.indexPath, pooled.blobPath, pooled.indexPath]) rmSync(path);
    }
  });

  const tar = TARS[5] as Buffer;
  const wrong = parseDigest(`sha256:${"0".repeat(64)}`);
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield tar.subarray(0, 600_000);
    throw Object.assign(new Error("connection reset"), { code: "ECONNRESET" });
  }
  const failures: [string, () => Promise<unknown>, object][] = [
    [
      "wrong diff ID",
      () => pool.convertLayer(chunked(tar), "none", targetOf("x"), { expectedDiffId: wrong }),
      { name: "ConversionError", code: "diff-id-mismatch" },
    ],
    [
      "no tar",
      () => pool.convertLayer(chunked(Buffer.alloc(5000, "x")), "none", targetOf("x")),
      { name: "TarError", code: "tar-bad-checksum" },
    ],
    [
      "no gzip",
      () => pool.convertLayer(chunked(tar), "gzip", targetOf("x")),
      { name: "CompressionError", code: "gzip-corrupt" },
    ],
    [
      "a limit",
      () => pool.convertLayer(chunked(tar), "none", targetOf("x"), { limits: { maxEntries: 1 } }),
      { code: "layer-too-large" },
    ],
    [
      "the source's own error",
      () => pool.convertLayer(broken(), "none", targetOf("x")),
      { code: "ECONNRESET" },
    ],
    [
      "no such directory",
      () =>
        pool.convertLayer(chunked(tar), "none", {
          blobPath: join(dir, "no/b"),
          indexPath: join(dir, "no/i"),
        }),
      { code: "layer-write-failed" },
    ],
  ];
  it.each(failures)("%s: nothing left, and the next conversion works", async (_, job, wanted) => {
    await expect(job()).rejects.toThrow(expect.objectContaining(wanted));
    expect(readdirSync(dir)).toEqual([]);
    const target = targetOf("next");
    expect(await pool.convertLayer(chunked(tar), "none", target)).toMatchObject({ entryCount: 2 });
    rmSync(target.blobPath);
    rmSync(target.indexPath);
  });

  it("ends when it is aborted", async () => {
    const controller = new AbortController();
    async function* slow(): AsyncGenerator<Uint8Array> {
      for (let at = 0; ; at += 1000) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        yield tar.subarray(at, at + 1000);
      }
    }
    const converting = pool.convertLayer(slow(), "none", targetOf("x"), { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), 30);
    await expect(converting).rejects.toThrow("enough");
    expect(readdirSync(dir)).toEqual([]);
  });
});
