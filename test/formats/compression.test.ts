import { spawnSync } from "node:child_process";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import {
  decompress,
  detectCompression,
  type Compression,
  type DecompressOptions,
} from "../../src/formats/compression/decompress.ts";

/** 3 MB that compress, but not to nothing. */
const PLAIN = Buffer.from(
  Array.from({ length: 400_000 }, (_, i) => `${(i * 2_654_435_761) % 65_521},`).join(""),
);

function zstd(data: Uint8Array, ...args: string[]): Buffer {
  const made = spawnSync("zstd", ["-c", "-q", ...args], { input: data, maxBuffer: 2 ** 26 });
  expect(made.status, made.stderr.toString()).toBe(0);
  return made.stdout;
}

async function* chunked(data: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

async function read(
  data: Uint8Array,
  compression: Compression,
  options: DecompressOptions = {},
  size = 65_536,
) {
  const chunks: Uint8Array[] = [];
  for await (const chunk of decompress(chunked(data, size), compression, options))
    chunks.push(options.inThisThread === true ? Buffer.from(chunk) : chunk);
  return Buffer.concat(chunks);
}

/** Rows of gzip and zstd are there for their decoders in this thread, too, which of zstd not every Node has. */
function withHere<Row extends unknown[]>(rows: readonly Row[], optionsAt: number): Row[] {
  return rows.flatMap((row) => {
    if (!row.includes("gzip") && !row.includes("zstd")) return [row];
    const here = [...row] as Row;
    here[0] = `${row[0] as string}, in this thread`;
    here[optionsAt] = { ...(row[optionsAt] as DecompressOptions | undefined), inThisThread: true };
    return [row, here];
  });
}

const SKIPPABLE = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);
const two = [PLAIN.subarray(0, 1_000_000), PLAIN.subarray(1_000_000)] as const;

describe("good data", () => {
  const javaScript = { zstdProgram: false } as const;
  const rows: [string, () => Uint8Array, Compression, DecompressOptions?][] = [
    ["none", () => PLAIN, "none"],
    ["gzip", () => gzipSync(PLAIN), "gzip"],
    ["gzip of two members", () => Buffer.concat(two.map((part) => gzipSync(part))), "gzip"],
    [
      "gzip of 5,000 members",
      () => Buffer.concat([...Array.from({ length: 5000 }, () => gzipSync("")), gzipSync(PLAIN)]),
      "gzip",
    ],
    ["gzip padded with zeros", () => Buffer.concat([gzipSync(PLAIN), Buffer.alloc(700_000)]), "gzip"],
    ["zstd", () => zstd(PLAIN), "zstd"],
    ["zstd of two frames", () => Buffer.concat(two.map((part) => zstd(part))), "zstd"],
    ["zstd behind a skippable frame", () => Buffer.concat([SKIPPABLE, zstd(PLAIN)]), "zstd"],
    ["zstd, decoder in JavaScript", () => zstd(PLAIN), "zstd", javaScript],
    [
      "zstd of two frames, decoder in JavaScript",
      () => Buffer.concat(two.map((part) => zstd(part))),
      "zstd",
      javaScript,
    ],
    [
      "zstd behind a skippable frame, decoder in JavaScript",
      () => Buffer.concat([SKIPPABLE, zstd(PLAIN)]),
      "zstd",
      javaScript,
    ],
    ["zstd without the program", () => zstd(PLAIN, "-19"), "zstd", { zstdProgram: "/nonexistent/zstd" }],
  ];
  it.each(withHere(rows, 3))("%s", async (_, make, compression, options) => {
    const data = make();
    expect(detectCompression(data)).toBe(compression);
    for (const size of [data.length, 65_536, 1009]) {
      expect((await read(data, compression, options, size)).equals(PLAIN), `in chunks of ${size}`).toBe(true);
    }
  });

  it("finds nothing in too little data", () => {
    for (const head of [[], [0x1f], [0x28, 0xb5, 0x2f], [0x50, 0x2a, 0x4d]]) {
      expect(detectCompression(Uint8Array.from(head))).toBe("none");
    }
  });
});

describe("bad data", () => {
  const gz = gzipSync(PLAIN);
  const zst = (): Buffer => zstd(PLAIN, "--check");
  const corrupt = (data: Buffer): Buffer => {
    const copy = Buffer.from(data);
    copy.fill(0x55, copy.length >> 1, (copy.length >> 1) + 64);
    return copy;
  };
  const rows: [string, () => Uint8Array, Compression, string, DecompressOptions?][] = [
    ["not gzip", () => Buffer.from("<html>Not found</html>"), "gzip", "gzip-corrupt"],
    ["gzip, empty", () => Buffer.alloc(0), "gzip", "gzip-truncated"],
    ["gzip, half a header", () => gz.subarray(0, 5), "gzip", "gzip-truncated"],
    ["gzip, half", () => gz.subarray(0, gz.length >> 1), "gzip", "gzip-truncated"],
    ["gzip, no trailer", () => gz.subarray(0, -4), "gzip", "gzip-truncated"],
    ["gzip, half a second member", () => Buffer.concat([gz, gz.subarray(0, 1000)]), "gzip", "gzip-truncated"],
    [
      // The length: a wrong CRC-32 alone is for the diff ID to find.
      "gzip, wrong trailer",
      () => Buffer.concat([gz.subarray(0, -8), Buffer.alloc(8, 1)]),
      "gzip",
      "gzip-corrupt",
    ],
    ["gzip, corrupt", () => corrupt(gz), "gzip", "gzip-corrupt"],
    [
      "gzip, garbage behind",
      () => Buffer.concat([gz, Buffer.from("garbage")]),
      "gzip",
      "gzip-trailing-garbage",
    ],
    ["not zstd", () => Buffer.from("<html>Not found</html>"), "zstd", "zstd-corrupt"],
    ["zstd, half", () => zst().subarray(0, zst().length >> 1), "zstd", "zstd-corrupt"],
    ["zstd, corrupt", () => corrupt(zst()), "zstd", "zstd-corrupt"],
    ["zstd, garbage behind", () => Buffer.concat([zst(), Buffer.from("garbage")]), "zstd", "zstd-corrupt"],
    [
      "not zstd, in JavaScript",
      () => Buffer.from("<html>Not found</html>"),
      "zstd",
      "zstd-corrupt",
      { zstdProgram: false },
    ],
    [
      "zstd, half, in JavaScript",
      () => zst().subarray(0, zst().length >> 1),
      "zstd",
      "zstd-corrupt",
      { zstdProgram: false },
    ],
    ["bomb, none", () => PLAIN, "none", "decompressed-too-large", { maxOutputBytes: 1000 }],
    [
      "bomb, gzip",
      () => gzipSync(Buffer.alloc(2 ** 26)),
      "gzip",
      "decompressed-too-large",
      { maxOutputBytes: 2 ** 22 },
    ],
    [
      "bomb, zstd",
      () => zstd(Buffer.alloc(2 ** 26)),
      "zstd",
      "decompressed-too-large",
      { maxOutputBytes: 2 ** 22 },
    ],
    [
      "bomb, zstd in JavaScript",
      () => zstd(Buffer.alloc(2 ** 26)),
      "zstd",
      "decompressed-too-large",
      { maxOutputBytes: 2 ** 22, zstdProgram: false },
    ],
    ["zstd window of 2 GiB", () => Buffer.from("28b52ffd00a8010000", "hex"), "zstd", "zstd-corrupt"],
  ];
  it.each(withHere(rows, 4))("%s", async (_, make, compression, code, options) => {
    const length = read(make(), compression, options).then((plain) => plain.length);
    await expect(length).rejects.toThrow(expect.objectContaining({ code }));
  });
});

describe("sources", () => {
  const rows: [string, Compression, () => Uint8Array, DecompressOptions?][] = [
    ["none", "none", () => PLAIN],
    ["gzip", "gzip", () => gzipSync(PLAIN)],
    ["zstd", "zstd", () => zstd(PLAIN)],
    ["zstd in JavaScript", "zstd", () => zstd(PLAIN), { zstdProgram: false }],
  ];
  const failure = new Error("digest mismatch");

  it.each(withHere(rows, 3))(
    "%s: an error at the source's very end comes out",
    async (_, compression, make, options) => {
      async function* failing(): AsyncGenerator<Uint8Array> {
        yield* chunked(make(), 100_000);
        throw failure;
      }
      const drain = async (): Promise<void> => {
        for await (const chunk of decompress(failing(), compression, options))
          expect(chunk.length).toBeGreaterThan(0);
      };
      await expect(drain()).rejects.toBe(failure);
    },
  );

  it.each(withHere(rows, 3))(
    "%s: a source is ended when the reader stops",
    async (_, compression, make, options) => {
      const data = make();
      let ended: () => void = () => {};
      const end = new Promise<void>((resolve) => (ended = resolve));
      async function* endless(): AsyncGenerator<Uint8Array> {
        try {
          for (;;) yield data;
        } finally {
          ended();
        }
      }
      for await (const chunk of decompress(endless(), compression, options)) {
        expect(chunk.length).toBeGreaterThan(0);
        break;
      }
      await end;
    },
  );

  it.each(withHere(rows, 3))(
    "%s: the source is not read faster than the reader reads",
    async (_, compression, make, options) => {
      const data = make();
      let handedOut = 0;
      async function* counting(): AsyncGenerator<Uint8Array> {
        for (let i = 0; i < 1000; i++) {
          handedOut++;
          yield data;
        }
      }
      const reading = decompress(counting(), compression, options)[Symbol.asyncIterator]();
      await reading.next();
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(handedOut).toBeLessThan(50);
      await reading.return();
    },
  );

  it.each(withHere(rows, 3))(
    "%s: an abort ends it, also while the source is stuck",
    async (_, compression, make, options) => {
      const data = make();
      const controller = new AbortController();
      async function* stuck(): AsyncGenerator<Uint8Array> {
        yield data;
        // Like a connection that delivers nothing more until it is cut.
        await new Promise<void>((_, reject) => {
          controller.signal.addEventListener("abort", () => reject(controller.signal.reason as Error));
        });
      }
      const drain = async (): Promise<void> => {
        for await (const chunk of decompress(stuck(), compression, {
          ...options,
          signal: controller.signal,
        })) {
          expect(chunk.length).toBeGreaterThan(0);
        }
      };
      const drained = drain();
      setTimeout(() => controller.abort(new Error("enough")), 50);
      await expect(drained).rejects.toThrow("enough");
    },
  );
});
