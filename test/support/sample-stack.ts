/** Three layers with one of everything that a root file system can have, and the awkward sizes. */
import { device, dir, fifo, file, hardlink, opaque, symlink, whiteout } from "./layer-index.ts";
import type { Entry } from "./layer-index.ts";

/** Bytes that differ from block to block, the same every time. */
export function pattern(sizeBytes: number, seed: number): Uint8Array {
  const data = new Uint8Array(sizeBytes);
  let state = seed;
  for (let at = 0; at < sizeBytes; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    data[at] = state >>> 16;
  }
  return data;
}

const text = (value: string): Uint8Array => Buffer.from(value, "latin1");
/** The least privileged file capability there is: cap_net_bind_service, permitted and effective. */
const CAPABILITY = Uint8Array.from([1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

const many = (count: number, name: (number: number) => string): Entry[] =>
  Array.from({ length: count }, (_, number) => file(name(number), number % 3 === 0 ? "" : `${number}`));

export const SAMPLE: Entry[][] = [
  [
    dir("", { mtime: [1_700_000_000, 5] }),
    dir("bin"),
    file("bin/su", pattern(70_000, 1), { mode: 0o4755, mtime: [-5, 999_999_999] }),
    file("bin/ping", pattern(5000, 2), { mode: 0o755, xattrs: [[6, "capability", CAPABILITY]] }),
    dir("etc", { mode: 0o2775, gid: 50 }),
    file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    file("etc/shadow", "secret", { mode: 0, uid: 4_000_000_000, gid: 70_000 }),
    dir("gone"),
    file("gone/file", pattern(9000, 3)),
    dir("hidden"),
    file("hidden/lower", "lower"),
    dir("sizes"),
    ...[1, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 100_000].map((sizeBytes) =>
      file(`sizes/${sizeBytes}`, pattern(sizeBytes, sizeBytes)),
    ),
    dir("many"),
    ...many(700, (number) => `many/${"x".repeat(number % 90)}${number}`),
    symlink("lib", "usr/lib"),
  ],
  [
    whiteout("gone"),
    opaque("hidden"),
    file("hidden/upper", "upper"),
    hardlink("bin/su2", "bin/su"),
    file("lib/libc.so", pattern(12_345, 4)),
    dir("dev"),
    device("character", "dev/null", 1, 3),
    device("block", "dev/odd", 259, 70_000),
    fifo("run/fifo"),
  ],
  [
    dir("odd"),
    file("odd/\xff\xfe not UTF-8 \x07", "1"),
    file(`odd/${"n".repeat(255)}`, "2"),
    ...["-", "!", "#", ".-", ".a", "..a", "...", "+", ",", "~", "a", "a b", "A", "0"].map((name) =>
      file(`odd/${name}`, name),
    ),
    symlink("odd/long", `${"a/".repeat(2000)}end`),
    symlink("odd/short", "../etc/passwd"),
    file("odd/xattrs", "x", {
      xattrs: [
        [1, "empty", new Uint8Array(0)],
        [1, "binary", Uint8Array.of(0, 255, 10)],
        [1, "big", pattern(3000, 7)],
        [4, "trust", text("t")],
      ],
    }),
    file("odd/big-xattr", "inline no more", { xattrs: [[1, "huge", pattern(20_000, 8)]] }),
    dir("odd/xattr-dir", { xattrs: [[1, "x", text("y")]] }),
    file("odd/sparse", "", {
      sparse: {
        sizeBytes: 100_001,
        chunkBits: 2,
        chunks: [null, pattern(16_384, 9), null, null, null, null, pattern(1697, 10)],
      },
    }),
    file("odd/hole", "", {
      sparse: { sizeBytes: 5_000_000_000, chunkBits: 11, chunks: Array(597).fill(null) },
    }),
    file("top", pattern(4100, 11)),
    dir("sizes", { mode: 0o700 }),
  ],
];
