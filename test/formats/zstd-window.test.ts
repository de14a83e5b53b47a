/** What a frame of zstd may ask for before it is decoded in JavaScript. */
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { decompress } from "../../src/formats/compression/decompress.ts";
import { WindowGuard } from "../../src/formats/compression/zstd-window.ts";

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
/** Three bytes, raw, the last block. */
const BLOCK = [0x19, 0, 0, 0x61, 0x62, 0x63];
const window = (log: number): number[] => [0, (log - 10) << 3];
const skippable = (size: number): number[] => [
  0x53,
  0x2a,
  0x4d,
  0x18,
  size,
  0,
  0,
  0,
  ...Array<number>(size).fill(7),
];

const ROWS: [string, number[], RegExp | undefined][] = [
  ["a window of 1 MiB", [...MAGIC, ...window(20), ...BLOCK], undefined],
  ["a window of 128 MiB", [...MAGIC, ...window(27), ...BLOCK], undefined],
  ["one of 144 MiB", [...MAGIC, 0, (17 << 3) | 1, ...BLOCK], /150994944 bytes, more than the 134217728/],
  ["one of 1 TiB", [...MAGIC, ...window(40), ...BLOCK], /window of 1099511627776/],
  ["behind a skippable frame", [...skippable(5), ...MAGIC, ...window(31), ...BLOCK], /2147483648/],
  [
    "behind a skippable frame that looks like one",
    [...skippable(200), ...MAGIC, ...window(20), ...BLOCK],
    undefined,
  ],
  ["in a second frame", [...MAGIC, ...window(20), ...BLOCK, ...MAGIC, ...window(31), ...BLOCK], /2147483648/],
  [
    "in a second frame, behind a checksum",
    [...MAGIC, 4, 80, ...BLOCK, 1, 2, 3, 4, ...MAGIC, ...window(31), ...BLOCK],
    /2147483648/,
  ],
  ["behind a repeated byte", [...MAGIC, 0, 80, 0x1b, 1, 0, 9, ...MAGIC, ...window(31)], /2147483648/],
  ["a single segment of 3 bytes", [...MAGIC, 0x20, 3, ...BLOCK], undefined],
  ["a single segment of 4 GiB", [...MAGIC, 0xa0, 255, 255, 255, 255, ...BLOCK], /4294967295/],
  [
    "a single segment with a dictionary's number",
    [...MAGIC, 0xa3, 1, 2, 3, 4, 255, 255, 255, 255],
    /4294967295/,
  ],
  ["what is no zstd", [1, 2, 3, 4, ...MAGIC, ...window(31), ...BLOCK], undefined],
  ["nothing", [], undefined],
];

describe.each(ROWS)("%s", (_name, bytes, message) => {
  test("is refused, or left to the decoder, however it is cut", () => {
    for (const size of [1, 3, 1000]) {
      const guard = new WindowGuard(2 ** 27);
      const push = (): void => {
        for (let at = 0; at < bytes.length; at += size)
          guard.push(Uint8Array.from(bytes.slice(at, at + size)));
      };
      let said = "";
      try {
        push();
      } catch (error) {
        said = String(error);
      }
      expect(said).toMatch(message ?? /^$/);
    }
  });
});

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

test("twelve bytes do not make the decoder take a gigabyte", async () => {
  const bomb = Uint8Array.from([...MAGIC, ...window(30), ...BLOCK]);
  const before = process.memoryUsage().arrayBuffers;
  const unpack = async (): Promise<void> => {
    for await (const chunk of decompress(once(bomb), "zstd", { zstdProgram: false }))
      expect(chunk.length).toBe(-1);
  };
  await expect(unpack()).rejects.toMatchObject({ code: "zstd-corrupt" });
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 2 ** 20);
});

test("what the zstd program makes passes, with and without a checksum, in several frames", async () => {
  const text = Buffer.from("some words, and some more of them ".repeat(20_000));
  const packed = ["-1", "-19", "--no-check"].map((flag) =>
    execFileSync("zstd", ["-q", "-c", flag], { input: text, maxBuffer: 1e8 }),
  );
  const out: Uint8Array[] = [];
  for await (const chunk of decompress(once(Buffer.concat(packed)), "zstd", { zstdProgram: false }))
    out.push(chunk);
  expect(Buffer.concat(out).equals(Buffer.concat([text, text, text]))).toBe(true);
});
