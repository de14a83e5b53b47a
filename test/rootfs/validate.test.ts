import { expect, test } from "vitest";
import type { MergedTree } from "../../src/rootfs/columns.ts";
import { merge } from "../../src/rootfs/merge.ts";
import { RootfsError } from "../../src/rootfs/rootfs-error.ts";
import { validate } from "../../src/rootfs/validate.ts";
import { buildLayer, device, dir, file, hardlink, symlink } from "../support/layer-index.ts";
import type { Entry } from "../support/layer-index.ts";
import { pattern } from "../support/sample-stack.ts";

const ENTRIES: Entry[] = [
  dir("d"),
  file("d/f", "small"),
  file("d/big", pattern(10_000, 1)),
  file("d/sparse", "", {
    sparse: { sizeBytes: 9000, chunkBits: 0, chunks: [null, pattern(4096, 2), pattern(808, 3)] },
  }),
  symlink("d/l", "target"),
  device("block", "d/b", 8, 1),
  hardlink("g", "d/f"),
  file("x", "", {
    xattrs: [
      [1, "a", Uint8Array.of(1)],
      [1, "b", Uint8Array.of(2)],
    ],
  }),
];

/** A sound tree whose columns may be spoiled, and the inode of a path in it. */
function fresh(): { tree: MergedTree; inode: (path: string) => number; row: (path: string) => number } {
  const tree = merge([buildLayer(ENTRIES)]);
  const row = (path: string): number => {
    let inode = 0;
    let found = -1;
    for (const name of path.split("/")) {
      found = tree.childName.findIndex((each, at) => {
        return each === name && at >= (tree.firstChild[inode] ?? 0) && at < (tree.firstChild[inode + 1] ?? 0);
      });
      inode = tree.childInode[found] ?? -1;
    }
    return found;
  };
  return { tree, row, inode: (path) => tree.childInode[row(path)] ?? -1 };
}

test("a sound tree passes, and is the same tree", () => {
  const { tree } = fresh();
  expect(validate(tree)).toBe(tree);
});

type Spoil = (tree: MergedTree, inode: (path: string) => number, row: (path: string) => number) => unknown;
const set = (column: { [index: number]: number }, at: number, value: number): unknown => (column[at] = value);
const names = (tree: MergedTree): string[] => tree.childName as string[];
const heapOf = (tree: MergedTree): Uint8Array => tree.sources[0]?.heap ?? new Uint8Array(0);
const far = 0xffff_fff0;

const SPOILED: [string, Spoil, RegExp][] = [
  ["a root that is a file", ({ mode }) => set(mode, 0, 0o100644), /root is no directory/],
  ["no inode at all", (tree) => Object.assign(tree, { inodeCount: 0 }), /root is no directory/],
  ["an empty name", (tree, _, row) => (names(tree)[row("d/f")] = ""), /1\.\.255/],
  ["a name of 256 bytes", (tree, _, row) => (names(tree)[row("d/f")] = "f".repeat(256)), /1\.\.255/],
  ["a name with a slash", (tree, _, row) => (names(tree)[row("d/f")] = "f/g"), /not a file name/],
  ["a name with a NUL", (tree, _, row) => (names(tree)[row("d/f")] = "f\0"), /not a file name/],
  ["a dot", (tree, _, row) => (names(tree)[row("d/b")] = "."), /not a file name/],
  ["two dots", (tree, _, row) => (names(tree)[row("d/b")] = ".."), /not a file name/],
  ["names out of order", (tree, _, row) => (names(tree)[row("d/f")] = "a"), /not in order/],
  ["a name twice", (tree, _, row) => (names(tree)[row("d/big")] = "b"), /not in order/],
  ["a name of no inode", ({ childInode }, _, row) => set(childInode, row("d/f"), 99), /leads nowhere/],
  [
    "a directory with two names",
    ({ childInode }, inode, row) => set(childInode, row("x"), inode("d")),
    /second name/,
  ],
  [
    "a directory inside itself",
    ({ childInode }, inode, row) => set(childInode, row("d/f"), inode("d")),
    /second name/,
  ],
  ["the root below the root", ({ childInode }, _, row) => set(childInode, row("x"), 0), /second name/],
  ["a wrong parent", ({ parent }, inode) => set(parent, inode("d"), inode("x")), /second name/],
  ["a file with children", ({ mode }, inode) => set(mode, inode("d"), 0o100644), /has children/],
  ["too few links", ({ nlink }, inode) => set(nlink, inode("d/f"), 1), /1 links are noted, 2 counted/],
  [
    "too many links of a directory",
    ({ nlink }, inode) => set(nlink, inode("d"), 3),
    /3 links are noted, 2 counted/,
  ],
  [
    "an inode without a name",
    ({ childInode, nlink }, inode, row) => {
      set(childInode, row("x"), inode("d/big"));
      set(nlink, inode("d/big"), 2);
      set(nlink, 4, 0);
      for (let at = 0; at < nlink.length; at++)
        if (!Array.from(childInode).includes(at) && at > 0) set(nlink, at, 0);
    },
    /no name/,
  ],
  ["a type that is none", ({ mode }, inode) => set(mode, inode("d/f"), 0o644), /no known type/],
  ["a socket", ({ mode }, inode) => set(mode, inode("d/f"), 0o140644), /no known type/],
  ["a device with data", ({ sizeBytes }, inode) => set(sizeBytes, inode("d/b"), 1), /no file/],
  ["a directory with data", ({ content }, inode) => set(content, inode("d"), 2), /no file/],
  [
    "a device that Linux has not: major",
    ({ rdevMajor }, inode) => set(rdevMajor, inode("d/b"), 4096),
    /no device 4096:1/,
  ],
  [
    "a device that Linux has not: minor",
    ({ rdevMinor }, inode) => set(rdevMinor, inode("d/b"), 2 ** 20),
    /no device/,
  ],
  ["a time that is none", ({ mtimeSeconds }, inode) => set(mtimeSeconds, inode("x"), Number.NaN), /no time/],
  ["a fractional time", ({ mtimeSeconds }, inode) => set(mtimeSeconds, inode("x"), 0.5), /no time/],
  [
    "a second of nanoseconds",
    ({ mtimeNanoseconds }, inode) => set(mtimeNanoseconds, inode("x"), 1e9),
    /no time/,
  ],
  ["data of an unknown kind", ({ content }, inode) => set(content, inode("d/f"), 9), /unknown/],
  ["a negative size", ({ sizeBytes }, inode) => set(sizeBytes, inode("d/f"), -1), /no size/],
  ["an endless size", ({ sizeBytes }, inode) => set(sizeBytes, inode("d/big"), Infinity), /no size/],
  ["a size without data", ({ content }, inode) => set(content, inode("d/f"), 0), /no data/],
  [
    "inline data behind the heap",
    ({ contentOffset }, inode) => set(contentOffset, inode("d/f"), far),
    /heap/,
  ],
  [
    "inline data that ends behind the heap",
    (tree, inode) => set(tree.contentOffset, inode("d/f"), heapOf(tree).length - 4),
    /heap/,
  ],
  ["inline data above the limit", ({ sizeBytes }, inode) => set(sizeBytes, inode("d/f"), 1025), /inline/],
  ["empty inline data", ({ sizeBytes }, inode) => set(sizeBytes, inode("d/f"), 0), /inline/],
  [
    "an extent behind the blob",
    ({ contentOffset }, inode) => set(contentOffset, inode("d/big"), far),
    /outside a blob/,
  ],
  [
    "an extent that ends behind the blob",
    ({ sizeBytes }, inode) => set(sizeBytes, inode("d/big"), 5 * 4096 + 1),
    /outside a blob of 5/,
  ],
  ["an empty extent", ({ sizeBytes }, inode) => set(sizeBytes, inode("d/big"), 0), /empty/],
  ["a symlink to nothing", ({ sizeBytes }, inode) => set(sizeBytes, inode("d/l"), 0), /1\.\.4095/],
  ["a symlink of 4096 bytes", ({ sizeBytes }, inode) => set(sizeBytes, inode("d/l"), 4096), /1\.\.4095/],
  ["a symlink behind the heap", ({ contentOffset }, inode) => set(contentOffset, inode("d/l"), far), /heap/],
  [
    "a symlink with a NUL",
    (tree, inode) =>
      heapOf(tree).fill(0, tree.contentOffset[inode("d/l")], 1 + (tree.contentOffset[inode("d/l")] ?? 0)),
    /NUL/,
  ],
  [
    "a chunk map behind the heap",
    ({ contentOffset }, inode) => set(contentOffset, inode("d/sparse"), far),
    /chunk map/,
  ],
  [
    "a chunk map that ends behind the heap",
    ({ sizeBytes }, inode) => set(sizeBytes, inode("d/sparse"), 2 ** 50),
    /chunk map/,
  ],
  [
    "chunks of 2^32 blocks",
    (tree, inode) => set(heapOf(tree), tree.contentOffset[inode("d/sparse")] ?? 0, 32),
    /2\^32/,
  ],
  [
    "a chunk behind the blob",
    (tree, inode) => set(heapOf(tree), 8 + (tree.contentOffset[inode("d/sparse")] ?? 0), 5),
    /chunk 1 at block 5 is outside/,
  ],
  [
    "a chunk that ends behind the blob",
    (tree, inode) => heapOf(tree).set([1, 0, 0, 0, 4, 0, 0, 0], tree.contentOffset[inode("d/sparse")]),
    /chunk 0 at block 4 is outside a blob of 5/,
  ],
  ["an empty sparse file", ({ sizeBytes }, inode) => set(sizeBytes, inode("d/sparse"), 0), /chunk map/],
  ["xattrs behind the heap", ({ xattrOffset }, inode) => set(xattrOffset, inode("x"), far), /heap/],
  [
    "more xattrs than there are",
    (tree, inode) => set(heapOf(tree), 1 + (tree.xattrOffset[inode("x")] ?? 0), 255),
    /xattr/,
  ],
  [
    "an xattr of an unknown namespace",
    (tree, inode) => set(heapOf(tree), 2 + (tree.xattrOffset[inode("x")] ?? 0), 5),
    /index 5/,
  ],
  [
    "an xattr without a name",
    (tree, inode) => set(heapOf(tree), 3 + (tree.xattrOffset[inode("x")] ?? 0), 0),
    /0 bytes after "user\."/,
  ],
  [
    "an ACL with a name",
    (tree, inode) => set(heapOf(tree), 2 + (tree.xattrOffset[inode("x")] ?? 0), 2),
    /posix_acl/,
  ],
  [
    "an xattr twice",
    (tree, inode) => set(heapOf(tree), 12 + (tree.xattrOffset[inode("x")] ?? 0), 0x61),
    /order/,
  ],
  [
    "an xattr name with a NUL",
    (tree, inode) => set(heapOf(tree), 6 + (tree.xattrOffset[inode("x")] ?? 0), 0),
    /NUL/,
  ],
];

test.each(SPOILED)("refused: %s", (_name, spoil, message) => {
  const { tree, inode, row } = fresh();
  spoil(tree, inode, row);
  expect(() => validate(tree)).toThrow(RootfsError);
  expect(() => validate(tree)).toThrow(message);
});

test("the message names the layer and the path", () => {
  const { tree, inode } = fresh();
  set(tree.sizeBytes, inode("d/big"), -1);
  expect(() => validate(tree)).toThrow(/^layer sha256:[0-9a-f]{64}: "\/d\/big" cannot be/);
});

test("more than 16 TiB of blobs are refused", () => {
  const { tree } = fresh();
  const sources = [...tree.sources, ...tree.sources].map((source) => ({ ...source, blobBlocks: 2 ** 31 }));
  expect(() => validate({ ...tree, sources })).toThrow(expect.objectContaining({ code: "rootfs-too-large" }));
});

test("too deep is refused", () => {
  // Paths are short; the depth comes from a symlink that leads further down each time.
  const entries: Entry[] = [dir("s0")];
  const step = "d/".repeat(500);
  for (let level = 0; level < 5; level++) {
    entries.push(dir(`s${level}/${step}e`), symlink(`s${level + 1}`, `s${level}/${step}e`));
  }
  expect(() => validate(merge([buildLayer(entries)]))).toThrow(/deeper than 2048/);
});
