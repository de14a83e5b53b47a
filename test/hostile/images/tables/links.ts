/** Links: what is written through them, what they are hard links to, where chains of them end. */
import {
  base,
  baseTree,
  canary,
  device,
  dir,
  file,
  fileLine,
  hardlink,
  longName,
  symlink,
  tar,
} from "../row.ts";
import type { LayerRow } from "../row.ts";

const up = `../../../../../../../..${canary}`;

const chain = (count: number, end: string) =>
  Array.from({ length: count }, (_, i) => symlink(`c${i}`, i + 1 === count ? end : `c${i + 1}`));

/** Where symlinks point; a file is then written through them. */
const targets: readonly (readonly [what: string, target: string])[] = [
  ["the canary, absolute", canary],
  ["the canary, relative", up],
  ["the root", "/"],
  ["above the root", "../../.."],
  ["/proc/self/root", `/proc/self/root${canary}`],
  ["/dev/fd", "/dev/fd/3"],
  ["a directory of a lower layer", "d"],
  ["nothing", "not/there"],
  ["a path with dots", "./d/.././../d/./sub"],
];

const through = targets.flatMap(([what, target]): LayerRow[] => [
  {
    name: `a file through a symlink to ${what}`,
    layers: [base, tar(symlink("s", target), file("s/file", "evil"))],
    want: "as umoci",
    twin: [base, tar(dir("s"), file("s/file", "good"))],
  },
  {
    name: `a file through a lower layer's symlink to ${what}`,
    layers: [base, tar(symlink("s", target)), tar(file("s/new/file", "evil"))],
    want: "as umoci",
    twin: [base, tar(dir("s")), tar(file("s/new/file", "good"))],
  },
  {
    name: `a directory over a symlink to ${what}, then a file in it`,
    layers: [base, tar(symlink("s", target)), tar(dir("s", { mode: 0o700 }), file("s/file", "evil"))],
    want: "as umoci",
    twin: [base, tar(dir("s")), tar(dir("s", { mode: 0o700 }), file("s/file", "good"))],
  },
]);

const symlinks: LayerRow[] = [
  {
    name: "a symlink to itself as a parent",
    layers: [tar(symlink("s", "s"), file("s/file"))],
    want: { code: "invalid-layer" },
    twin: [tar(symlink("s", "d"), file("s/file"))],
  },
  {
    name: "two symlinks to each other as a parent",
    layers: [tar(symlink("a", "b"), symlink("b", "a"), file("a/file"))],
    want: { code: "invalid-layer" },
    twin: [tar(symlink("a", "b"), symlink("b", "d"), file("a/file"))],
  },
  {
    name: "a loop through two layers",
    layers: [tar(symlink("a", "b")), tar(symlink("b", "a/x"), file("b/file"))],
    want: { code: "invalid-layer" },
    twin: [tar(symlink("a", "b")), tar(dir("b"), file("a/file"))],
  },
  {
    name: "a chain of 41 symlinks",
    layers: [tar(dir("d"), ...chain(41, "d"), file("c0/file"))],
    want: { code: "invalid-layer" },
    twin: [tar(dir("d"), ...chain(40, "d"), file("c0/file"))],
  },
  {
    name: "a chain of symlinks that ends at the canary",
    layers: [tar(...chain(20, canary), file("c0/file", "evil"))],
    want: "as umoci",
    twin: [tar(dir("d"), ...chain(20, "d"), file("c0/file", "good"))],
  },
  {
    name: "a symlink that is swapped between two files",
    layers: [tar(dir("a"), symlink("s", "a"), file("s/1"), symlink("s", canary), file("s/file", "evil"))],
    want: "as umoci",
    twin: [tar(dir("a"), dir("b"), symlink("s", "a"), file("s/1"), symlink("s", "b"), file("s/2"))],
  },
  {
    name: "a symlink without a target",
    layers: [tar(symlink("s", ""))],
    want: { code: "layer-bad-link" },
    twin: [tar(symlink("s", "x"))],
  },
  {
    name: "a symlink with a target of 4,096 bytes",
    layers: [tar(longName("t".repeat(4096), "K"), symlink("s", "x"))],
    want: { code: "layer-bad-link" },
    twin: [tar(longName("t".repeat(4095), "K"), symlink("s", "x"))],
  },
  {
    name: "a file as a parent",
    layers: [base, tar(file("f/file"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(file("d/file"))],
  },
  {
    name: "a symlink to a file as a parent",
    layers: [base, tar(file("to-f/file"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(file("to-d/file"))],
  },
  {
    name: "a device as a parent",
    layers: [base, tar(device("3", "c", 1, 3), file("c/file"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(device("3", "c", 1, 3), file("e/file"))],
  },
  {
    name: "a file over a symlink to the canary",
    layers: [tar(symlink("s", `${canary}/file`)), tar(file("s", "evil"))],
    want: "as umoci",
    twin: [tar(symlink("s", "x")), tar(file("s", "good"))],
  },
];

const hardlinks: LayerRow[] = [
  {
    name: "to the canary, absolute",
    layers: [tar(hardlink("l", `${canary}/file`))],
    want: { code: "invalid-layer" },
    twin: [tar(file("file"), hardlink("l", "/file"))],
  },
  {
    name: "to the canary, with ..",
    layers: [tar(hardlink("l", `${up}/file`))],
    want: { code: "invalid-layer" },
    twin: [tar(file("file"), hardlink("l", "../file"))],
  },
  {
    name: "to the canary through a symlink",
    layers: [tar(symlink("s", canary), hardlink("l", "s/file"), file("l", "evil"))],
    want: { code: "invalid-layer" },
    twin: [tar(dir("d"), symlink("s", "d"), file("s/file"), hardlink("l", "s/file"))],
  },
  {
    name: "to the canary through a chain of symlinks in a lower layer",
    layers: [tar(...chain(10, canary)), tar(hardlink("l", "c0/file"))],
    want: { code: "invalid-layer" },
    twin: [tar(dir("d"), file("d/file"), ...chain(10, "d")), tar(hardlink("l", "c0/file"))],
  },
  {
    name: "to a symlink to the canary, then written",
    layers: [tar(symlink("s", `${canary}/file`), hardlink("l", "s"), file("l", "evil"))],
    want: "as umoci",
    twin: [tar(symlink("s", "x"), hardlink("l", "s"))],
  },
  {
    name: "to a directory",
    layers: [base, tar(hardlink("l", "d"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(hardlink("l", "d/f"))],
  },
  {
    name: "to the root",
    layers: [base, tar(hardlink("l", "/"))],
    want: { code: "layer-bad-link" },
    twin: [base, tar(hardlink("l", "/f"))],
  },
  {
    name: "to a symlink to a directory",
    layers: [base, tar(hardlink("l", "to-d"), file("l/file"))],
    want: "as umoci",
    twin: [base, tar(symlink("l", "to-d"), file("l/file"))],
  },
  {
    name: "to nothing",
    layers: [base, tar(hardlink("l", "missing"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(file("missing"), hardlink("l", "missing"))],
  },
  {
    name: "to what comes later",
    layers: [base, tar(hardlink("l", "later"), file("later"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(file("later"), hardlink("l", "later"))],
  },
  {
    name: "to what a whiteout of the same layer took",
    layers: [base, tar(file(".wh.f", ""), hardlink("l", "f"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(file("d/.wh.f", ""), hardlink("l", "f"))],
  },
  {
    name: "to itself",
    layers: [base, tar(hardlink("f", "f"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(hardlink("g", "f"))],
  },
  {
    name: "to itself, spelled otherwise",
    layers: [base, tar(hardlink("f", "./d/../f"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(hardlink("g", "./d/../f"))],
  },
  {
    name: "without a target",
    layers: [base, tar(hardlink("l", ""))],
    want: { code: "layer-bad-link" },
    twin: [base, tar(hardlink("l", "f"))],
  },
  {
    name: "with data behind its header",
    layers: [base, tar(hardlink("l", "f", { size: 512 }), Buffer.alloc(512, "e"))],
    want: { code: "tar-bad-checksum" },
    twin: [base, tar(hardlink("l", "f", { size: 512 }))],
  },
  {
    name: "over a directory that is full",
    layers: [base, tar(hardlink("d", "f"))],
    want: "as umoci",
    twin: [base, tar(hardlink("e", "f"))],
  },
  {
    name: "in a lower layer, then one of the names replaced",
    layers: [base, tar(hardlink("l", "f")), tar(file("l", "new"))],
    want: "as umoci",
    twin: [base, tar(hardlink("l", "f"))],
  },
  {
    name: "in a lower layer, then the target removed",
    layers: [base, tar(hardlink("l", "f")), tar(file(".wh.f", ""))],
    want: "as umoci",
    twin: [base, tar(hardlink("l", "f"))],
  },
  {
    name: "through a symlink loop",
    layers: [base, tar(symlink("a", "b"), symlink("b", "a"), hardlink("l", "a/f"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(symlink("a", "b"), symlink("b", "d"), hardlink("l", "a/f"))],
  },
  {
    name: "with another owner and mode than its target: they are the target's",
    layers: [base, tar(hardlink("l", "f", { mode: 0o4777, uid: 0 }))],
    want: baseTree([fileLine("f", "file", "644 0:0 @0 x2"), fileLine("l", "file", "644 0:0 @0 x2")], "f"),
    twin: [base, tar(hardlink("l", "f"))],
  },
];

/** A hundred kilobytes that would keep a processor busy for minutes: each file's parent is half a million steps away. */
const detour = (count: number) =>
  Array.from({ length: 39 }, (_, i) => [
    longName(`${"d/../".repeat(count)}s${i + 1}`, "K"),
    symlink(`s${i}`, "short"),
  ]).flat();
const labyrinth: LayerRow[] = [
  {
    name: "symlinks that lead to and fro, for thousands of files",
    layers: [
      tar(
        dir("d"),
        ...detour(800),
        symlink("s39", "d"),
        ...Array.from({ length: 6000 }, (_, i) => file(`s0/${i}/f`, "")),
      ),
    ],
    want: { code: "invalid-layer" },
    twin: [
      tar(
        dir("d"),
        ...detour(8),
        symlink("s39", "d"),
        ...Array.from({ length: 600 }, (_, i) => file(`s0/${i}/f`, "")),
      ),
    ],
  },
  {
    name: "a few names that make millions of directories",
    layers: [
      tar(
        ...Array.from({ length: 2000 }, (_, i) => [
          longName(`${i}/${"p/".repeat(2000)}f`),
          file("short", ""),
        ]).flat(),
      ),
    ],
    want: { code: "invalid-layer" },
    caps: { memoryBytes: 400 * 2 ** 20, diskBytes: 2 ** 24 },
    twin: [
      tar(
        ...Array.from({ length: 20 }, (_, i) => [
          longName(`${i}/${"p/".repeat(20)}f`),
          file("short", ""),
        ]).flat(),
      ),
    ],
  },
];

export const links: readonly LayerRow[] = [
  ...through,
  ...symlinks,
  ...labyrinth,
  ...hardlinks.map((row) => ({ ...row, name: `a hard link ${row.name}` })),
];
