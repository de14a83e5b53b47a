/** Whiteouts, opaque marks, and what takes the place of what. */
import {
  base,
  baseTree,
  canary,
  device,
  dir,
  fifo,
  file,
  fileLine,
  hardlink,
  mark,
  symlink,
  tar,
} from "../row.ts";
import type { LayerRow } from "../row.ts";

const refused: LayerRow[] = [
  {
    name: "bare .wh.",
    layers: [base, tar(mark(".wh."))],
    want: { code: "layer-bad-name" },
    twin: [base, tar(mark(".wh.f"))],
  },
  {
    name: ".wh..",
    layers: [base, tar(mark(".wh.."))],
    want: { code: "layer-bad-name" },
    twin: [base, tar(mark(".wh..x"))],
  },
  {
    name: ".wh...",
    layers: [base, tar(mark(".wh..."))],
    want: { code: "layer-bad-name" },
    twin: [base, tar(mark(".wh....x"))],
  },
  {
    name: "d/.wh.",
    layers: [base, tar(mark("d/.wh."))],
    want: { code: "layer-bad-name" },
    twin: [base, tar(mark("d/.wh.f"))],
  },
  {
    name: "d/.wh..",
    layers: [base, tar(mark("d/.wh.."))],
    want: { code: "layer-bad-name" },
    twin: [base, tar(mark("d/.wh..f"))],
  },
  {
    name: "d/.wh...",
    layers: [base, tar(mark("d/.wh..."))],
    want: { code: "layer-bad-name" },
    twin: [base, tar(mark("d/.wh.f"))],
  },
  {
    name: "d/sub/.wh... as a directory",
    layers: [base, tar(dir("d/sub/.wh..."))],
    want: { code: "layer-bad-name" },
    twin: [base, tar(dir("d/sub/.wx..."))],
  },
  {
    name: ".wh.. as a symlink",
    layers: [base, tar(symlink(".wh..", canary))],
    want: { code: "layer-bad-name" },
    twin: [base, tar(symlink("wh..", canary))],
  },
];

const ofNames: LayerRow[] = [
  {
    name: "of the canary through a symlink",
    layers: [base, tar(symlink("s", canary)), tar(mark("s/.wh.file"))],
    want: "as umoci",
    twin: [base, tar(symlink("s", "d")), tar(mark("s/.wh.f"))],
  },
  {
    name: "through a symlinked parent",
    layers: [base, tar(mark("to-d/.wh.f"))],
    want: "as umoci",
    twin: [base, tar(mark("d/.wh.f"))],
  },
  {
    name: "through an absolute symlinked parent",
    layers: [base, tar(mark("abs-d/sub/.wh.g"))],
    want: "as umoci",
    twin: [base, tar(mark("d/sub/.wh.g"))],
  },
  {
    name: "through a symlink to nowhere",
    layers: [base, tar(mark("to-nowhere/.wh.f"))],
    want: baseTree(),
    twin: [base, tar(mark("to-d/.wh.f"))],
  },
  {
    name: "through a symlink loop",
    layers: [base, tar(symlink("a", "b"), symlink("b", "a")), tar(mark("a/.wh.f"))],
    want: { code: "invalid-layer" },
    twin: [base, tar(symlink("a", "b"), symlink("b", "d")), tar(mark("a/.wh.f"))],
  },
  {
    name: "through a file",
    layers: [base, tar(mark("f/.wh.x"))],
    want: "as umoci",
    twin: [base, tar(mark("d/.wh.x"))],
  },
  {
    name: "of what the same layer has before",
    layers: [base, tar(file("new", "kept"), mark(".wh.new"))],
    want: baseTree([fileLine("new", "kept")]),
    twin: [base, tar(file("new", "kept"))],
  },
  {
    name: "of what the same layer has behind",
    layers: [base, tar(mark(".wh.f"), file("f", "again"))],
    want: "as umoci",
    twin: [base, tar(file("f", "again"))],
  },
  {
    name: "of nothing",
    layers: [base, tar(mark("d/.wh.not-there"), mark("no/dir/.wh.here"))],
    want: "as umoci",
    twin: [base, tar(mark("d/.wh.f"))],
  },
  {
    name: "of a directory",
    layers: [base, tar(mark(".wh.d"))],
    want: "as umoci",
    twin: [base, tar(mark("d/.wh.sub"))],
  },
  {
    name: "of a symlink: not of its target",
    layers: [base, tar(mark(".wh.to-d"))],
    want: "as umoci",
    twin: [base, tar(mark(".wh.to-f"))],
  },
  {
    name: "that is a directory",
    layers: [base, tar(dir(".wh.d"))],
    want: "as umoci",
    twin: [base, tar(mark(".wh.d"))],
  },
  {
    name: "that is a hard link",
    layers: [base, tar(hardlink(".wh.d", "f"))],
    want: "as umoci",
    twin: [base, tar(mark(".wh.d"))],
  },
  {
    name: "with data of its own",
    layers: [base, tar(file(".wh.d", "data".repeat(1000)))],
    want: "as umoci",
    twin: [base, tar(mark(".wh.d"))],
  },
  {
    name: "of a name that is a whiteout",
    layers: [base, tar(mark(".wh..wh.x"))],
    want: "as umoci",
    twin: [base, tar(mark(".wh.x"))],
  },
  {
    name: "of AUFS's own",
    layers: [base, tar(dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "x"), mark(".wh..wh.aufs"))],
    want: baseTree(),
    twin: [base, tar(mark("d/.wh.f"))],
  },
  {
    name: "in the lowest layer",
    layers: [tar(mark(".wh.f"), file("g"))],
    want: "as umoci",
    twin: [tar(file("g"))],
  },
];

const opaque: LayerRow[] = [
  {
    name: "before its siblings",
    layers: [base, tar(mark("d/.wh..wh..opq"), file("d/new"))],
    want: "as umoci",
    twin: [base, tar(file("d/new"))],
  },
  {
    name: "behind its siblings",
    layers: [base, tar(file("d/new"), mark("d/.wh..wh..opq"))],
    want: baseTree([fileLine("d/new", "x")], "d/f", "d/sub", "d/sub/g"),
    twin: [base, tar(file("d/new"))],
  },
  {
    name: "on a file",
    layers: [base, tar(mark("f/.wh..wh..opq"))],
    want: baseTree(),
    twin: [base, tar(mark("d/.wh..wh..opq"))],
  },
  {
    name: "on the root",
    layers: [base, tar(mark(".wh..wh..opq"), file("only"))],
    want: "as umoci",
    twin: [base, tar(file("only"))],
  },
  {
    name: "on the canary",
    layers: [base, tar(symlink("s", canary)), tar(mark("s/.wh..wh..opq"))],
    want: "as umoci",
    twin: [base, tar(symlink("s", "d")), tar(mark("d/.wh..wh..opq"))],
  },
  {
    name: "through a symlink",
    layers: [base, tar(mark("to-d/.wh..wh..opq"))],
    want: "as umoci",
    twin: [base, tar(mark("d/.wh..wh..opq"))],
  },
  {
    name: "through a symlink that this layer replaces by a directory",
    layers: [base, tar(mark("to-d/.wh..wh..opq"), dir("to-d"), file("to-d/new"))],
    want: baseTree(["to-d dir 755 0:0", fileLine("to-d/new", "x")], "to-d"),
    twin: [base, tar(dir("to-d"), file("to-d/new"))],
  },
  {
    name: "on nothing",
    layers: [base, tar(mark("not/there/.wh..wh..opq"))],
    want: "as umoci",
    twin: [base, tar(mark("d/.wh..wh..opq"))],
  },
  {
    name: "twice, with a file between",
    layers: [base, tar(mark("d/.wh..wh..opq"), file("d/new"), mark("d/.wh..wh..opq"))],
    want: baseTree([fileLine("d/new", "x")], "d/f", "d/sub", "d/sub/g"),
    twin: [base, tar(mark("d/.wh..wh..opq"), file("d/new"))],
  },
  {
    name: "in a directory that the same layer also whites out",
    layers: [base, tar(mark(".wh.d"), mark("d/.wh..wh..opq"), dir("d"), file("d/new"))],
    want: "as umoci",
    twin: [base, tar(mark("d/.wh..wh..opq"), file("d/new"))],
  },
];

/** Everything in the place of everything, over layers and within one. */
const makers = {
  "a file": () => file("t", "new"),
  "a directory": () => dir("t", { mode: 0o700 }),
  "a symlink": () => symlink("t", canary),
  "a device": () => device("3", "t", 5, 1),
  "a FIFO": () => fifo("t"),
} as const;

const changes = Object.entries(makers).flatMap(([below, makeLower]) =>
  Object.entries(makers).flatMap(([above, makeUpper]): LayerRow[] => {
    const lower =
      below === "a directory" ? [makeLower(), file("t/in"), dir("t/deep"), file("t/deep/x")] : [makeLower()];
    const rows = [
      {
        name: `${above} over ${below} of a lower layer`,
        layers: [tar(...lower), tar(makeUpper())],
        want: "as umoci" as const,
        twin: [tar(...lower), tar(file("other"))],
      },
    ];
    if (below === above) return rows;
    return [
      ...rows,
      {
        name: `${above} over ${below} of the same layer`,
        layers: [tar(...lower, makeUpper())],
        want: "as umoci" as const,
        twin: [tar(...lower, file("other"))],
      },
    ];
  }),
);

const duplicates: LayerRow[] = [
  {
    name: "a file twice",
    layers: [tar(file("f", "1"), file("f", "22"))],
    want: "as umoci",
    twin: [tar(file("f", "22"))],
  },
  {
    name: "a file a thousand times",
    layers: [tar(...Array.from({ length: 1000 }, (_, i) => file("f", `${i}`)))],
    want: "as umoci",
    twin: [tar(...Array.from({ length: 1000 }, (_, i) => file(`f${i}`, `${i}`)))],
  },
  {
    name: "a file in two spellings",
    layers: [tar(file("d/f", "1"), file("./d//f", "22"), file("/d/x/../f", "333"))],
    want: "as umoci",
    twin: [tar(file("d/f", "1"))],
  },
  {
    name: "a directory twice, the second without rights",
    layers: [tar(dir("d"), file("d/f"), dir("d", { mode: 0 }))],
    want: "as umoci",
    twin: [tar(dir("d"), file("d/f"))],
  },
  {
    name: "a symlink twice, the second to the canary",
    layers: [tar(symlink("s", "d"), symlink("s", canary), file("s/file", "evil"))],
    want: "as umoci",
    twin: [tar(symlink("s", "d"), file("s/file"))],
  },
  {
    name: "a hard link twice",
    layers: [tar(file("f"), hardlink("l", "f"), hardlink("l", "f"))],
    want: "as umoci",
    twin: [tar(file("f"), hardlink("l", "f"))],
  },
  {
    name: "the same layer twice",
    layers: [base, base],
    want: "as umoci",
    twin: [base],
  },
];

export const whiteouts: readonly LayerRow[] = [
  ...refused,
  ...ofNames.map((row) => ({ ...row, name: `a whiteout ${row.name}` })),
  ...opaque.map((row) => ({ ...row, name: `an opaque mark ${row.name}` })),
];
export const changesOfType: readonly LayerRow[] = [...changes, ...duplicates];
