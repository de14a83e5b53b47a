import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { elfKernel } from "../../src/machine/kernel/vmlinux.ts";

const SETUP_BYTES = 5 * 512;

function elf(machine: number): Buffer {
  const bytes = Buffer.alloc(300_000, "kernel");
  Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]).copy(bytes);
  bytes.writeUInt16LE(machine, 18);
  return bytes;
}

/** A boot image with this payload, as the kernel's build makes it: behind the setup sectors and a decompressor. */
function bzImage(payload: Buffer, decompressor = Buffer.alloc(700, 0x90)): Buffer {
  const head = Buffer.alloc(SETUP_BYTES);
  head[0x1f1] = 4;
  head.writeUInt16LE(0xaa55, 0x1fe);
  head.write("HdrS", 0x202, "latin1");
  head.writeUInt16LE(0x020f, 0x206);
  head.writeUInt32LE(decompressor.length, 0x248);
  head.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([head, decompressor, payload, Buffer.alloc(64, 0xee)]);
}

function zstd(bytes: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(bytes.length);
  return Buffer.concat([execFileSync("zstd", ["-q", "-c"], { input: bytes }), size]);
}

describe("the ELF file in a bzImage", () => {
  let dir: string;
  const paths = () => ({ dataDir: join(dir, "data"), runtimeDir: join(dir, "run") });
  beforeAll(async () => (dir = await mkdtemp(join(tmpdir(), "flamebox-vmlinux-"))));
  afterAll(async () => await rm(dir, { recursive: true, force: true }));

  it.each<[string, (bytes: Buffer) => Buffer]>([
    ["zstd", zstd],
    ["gzip", (bytes) => gzipSync(bytes)],
  ])("is unpacked from %s, once", async (name, compress) => {
    const kernel = join(dir, `vmlinuz-${name}`);
    await writeFile(kernel, bzImage(compress(elf(62))));
    const path = await elfKernel(kernel, paths());
    expect((await readFile(path)).equals(elf(62))).toBe(true);
    await writeFile(path, "seen");
    expect(await readFile(await elfKernel(kernel, paths()), "utf8")).toBe("seen");
  });

  it.each<[string, Buffer, RegExp]>([
    ["no payload", bzImage(Buffer.alloc(0)), /names no payload/],
    ["another compression", bzImage(Buffer.from("\xfd7zXZ and more", "latin1")), /neither zstd nor gzip/],
    ["another machine's ELF file", bzImage(gzipSync(elf(183))), /no ELF file for x86-64/],
    ["something that is no ELF file", bzImage(gzipSync(Buffer.alloc(1000))), /no ELF file/],
    ["an empty payload", bzImage(gzipSync(Buffer.alloc(0))), /is empty/],
    ["damaged zstd", bzImage(Buffer.concat([zstd(elf(62)).subarray(0, 50), Buffer.alloc(50)])), /zstd/],
    ["a payload behind its end", bzImage(zstd(elf(62))).subarray(0, SETUP_BYTES + 750), /cut short/],
  ])("is refused for %s, and nothing is left", async (name, bytes, reason) => {
    const kernel = join(dir, `bad-${name.replaceAll(" ", "-").replaceAll("'", "")}`);
    await writeFile(kernel, bytes);
    await expect(elfKernel(kernel, paths())).rejects.toMatchObject({
      code: "kernel-unavailable",
      message: expect.stringMatching(reason) as string,
    });
    const left = await readdir(join(dir, "data", "guest"));
    expect(left.filter((file) => file.endsWith(".tmp"))).toEqual([]);
  });

  it("is refused for what is no kernel", async () => {
    await writeFile(join(dir, "text"), "no kernel");
    await expect(elfKernel(join(dir, "text"), paths())).rejects.toMatchObject({ code: "not-a-kernel" });
  });
});
