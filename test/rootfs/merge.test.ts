import { expect, test } from "vitest";
import type { InodeTree } from "../../src/formats/erofs/tree.ts";
import { merge } from "../../src/rootfs/merge.ts";
import { RootfsError } from "../../src/rootfs/rootfs-error.ts";
import { validate } from "../../src/rootfs/validate.ts";
import {
  buildLayers,
  device,
  dir,
  fifo,
  file,
  hardlink,
  opaque,
  symlink,
  whiteout,
} from "../support/layer-index.ts";
import type { Entry } from "../support/layer-index.ts";
import { showTree } from "../support/show-tree.ts";

function merged(stack: readonly (readonly Entry[])[]): InodeTree {
  return validate(merge(buildLayers(stack)));
}

/** Name, layers from the lowest, and the tree: `d/`, `file=content`, `link->target`, `x2` for two names. */
const ROWS: [string, Entry[][], string[]][] = [
  ["no layers", [], []],
  ["an empty layer", [[]], []],
  ["one file", [[file("f", "1")]], ["f=1"]],
  ["the root's own metadata", [[dir("", { mode: 0o711, uid: 7 })]], ["/ 711 7:0"]],
  ["the root again, in a higher layer", [[dir("", { mode: 0o700 })], [dir("", { mode: 0o711 })]], ["/ 711"]],
  [
    "kinds",
    [[device("character", "c", 1, 3), device("block", "b", 259, 70000), fifo("p")]],
    ["b=block 259:70000 600", "c=character 1:3 600", "p=fifo 600"],
  ],

  ["a file over a file", [[file("f", "1")], [file("f", "2", { mode: 0o600 })]], ["f=2 600"]],
  [
    "a directory over a directory keeps the children",
    [[dir("d"), file("d/f", "1")], [dir("d", { mode: 0o700 })]],
    ["d/ 700", "d/f=1"],
  ],
  [
    "a directory over a directory takes the new owner",
    [[dir("d", { uid: 1 })], [dir("d", { gid: 2 })]],
    ["d/ 0:2"],
  ],
  ["a file over a directory", [[dir("d"), file("d/f", "1")], [file("d", "2")]], ["d=2"]],
  ["a directory over a file", [[file("d", "1")], [dir("d"), file("d/f", "2")]], ["d/", "d/f=2"]],
  ["a symlink over a directory", [[dir("d"), file("d/f", "1")], [symlink("d", "x")]], ["d->x"]],
  [
    "a directory over a symlink",
    [[dir("x"), file("x/f", "1"), symlink("d", "x")], [dir("d")]],
    ["d/", "x/", "x/f=1"],
  ],
  [
    "a file over a symlink leaves its target",
    [[file("t", "1"), symlink("l", "t")], [file("l", "2")]],
    ["l=2", "t=1"],
  ],
  ["a device over a file", [[file("f", "1")], [device("character", "f", 0, 0)]], ["f=character 0:0 600"]],

  ["equal names in one layer: the last wins", [[file("f", "1"), file("f", "2")]], ["f=2"]],
  [
    "equal directories in one layer: the last metadata",
    [[dir("d", { mode: 0o700 }), file("d/f", "1"), dir("d")]],
    ["d/", "d/f=1"],
  ],
  ["a file after a directory of that name", [[dir("d"), file("d/f", "1"), file("d", "2")]], ["d=2"]],
  [
    "a directory again after a file replaced it",
    [[dir("d"), file("d/f", "1"), file("d", "2"), dir("d"), file("d/g", "3")]],
    ["d/", "d/g=3"],
  ],
  [
    "a directory replaced while its path is known",
    [[dir("d"), file("d/a", "1"), file("d/b", "2"), symlink("d", "e"), file("d/c", "3")]],
    ["d->e", "e/", "e/c=3"],
  ],

  ["missing parents are made", [[file("a/b/f", "1")]], ["a/", "a/b/", "a/b/f=1"]],
  ["made parents take metadata later", [[file("a/f", "1"), dir("a", { mode: 0o700 })]], ["a/ 700", "a/f=1"]],
  [
    "a made parent keeps the lower metadata",
    [[dir("a", { mode: 0o700 })], [file("a/f", "1")]],
    ["a/ 700", "a/f=1"],
  ],

  [
    "a symlinked parent, relative",
    [[dir("d"), symlink("s", "d"), file("s/f", "1")]],
    ["d/", "d/f=1", "s->d"],
  ],
  [
    "a symlinked parent, absolute",
    [[dir("d"), dir("e"), symlink("e/s", "/d"), file("e/s/f", "1")]],
    ["d/", "d/f=1", "e/", "e/s->/d"],
  ],
  [
    "a symlinked parent from a lower layer",
    [[dir("usr/bin"), symlink("bin", "usr/bin")], [file("bin/f", "1")]],
    ["bin->usr/bin", "usr/", "usr/bin/", "usr/bin/f=1"],
  ],
  [
    "a symlinked parent that climbs out stays in",
    [[symlink("s", "../../x"), file("s/f", "1")]],
    ["s->../../x", "x/", "x/f=1"],
  ],
  [
    "a symlinked parent that climbs inside",
    [[dir("a/b"), dir("c"), symlink("a/b/s", "../../c"), file("a/b/s/f", "1")]],
    ["a/", "a/b/", "a/b/s->../../c", "c/", "c/f=1"],
  ],
  [
    "a symlinked parent to nowhere is made",
    [[symlink("s", "no/where"), file("s/f", "1")]],
    ["no/", "no/where/", "no/where/f=1", "s->no/where"],
  ],
  [
    "symlinks in a chain",
    [[dir("d"), symlink("a", "b"), symlink("b", "c"), symlink("c", "d"), file("a/f", "1")]],
    ["a->b", "b->c", "c->d", "d/", "d/f=1"],
  ],
  [
    "a symlinked parent that changes between entries",
    [[symlink("s", "a"), file("s/f", "1"), symlink("s", "b"), file("s/f", "2")]],
    ["a/", "a/f=1", "b/", "b/f=2", "s->b"],
  ],
  [
    "a symlinked parent that is replaced through itself",
    [[symlink("s", "."), file("s/x", "1"), symlink("s/s", "e"), file("s/f", "2")]],
    ["e/", "e/f=2", "s->e", "x=1"],
  ],

  ["a hard link", [[file("a", "1"), hardlink("b", "a")]], ["a=1 x2", "b=1 x2"]],
  ["a hard link into a lower layer", [[file("a", "1")], [hardlink("b", "a")]], ["a=1 x2", "b=1 x2"]],
  [
    "a hard link through a symlinked parent",
    [[dir("d"), file("d/f", "1"), symlink("s", "d"), hardlink("b", "s/f")]],
    ["b=1 x2", "d/", "d/f=1 x2", "s->d"],
  ],
  ["a hard link to a symlink", [[symlink("s", "x"), hardlink("b", "s")]], ["b->x x2", "s->x x2"]],
  [
    "a hard link to a hard link",
    [[file("a", "1"), hardlink("b", "a"), hardlink("c", "b")]],
    ["a=1 x3", "b=1 x3", "c=1 x3"],
  ],
  [
    "a hard link to a device",
    [[device("character", "c", 1, 3), hardlink("d", "c")]],
    ["c=character 1:3 600 x2", "d=character 1:3 600 x2"],
  ],
  ["a hard link over a file", [[file("a", "1"), file("b", "2"), hardlink("b", "a")]], ["a=1 x2", "b=1 x2"]],
  [
    "a linked file replaced in a higher layer leaves the other name",
    [[file("a", "1"), hardlink("b", "a")], [file("a", "2")]],
    ["a=2", "b=1"],
  ],
  [
    "a linked file removed in a higher layer leaves the other name",
    [[file("a", "1"), hardlink("b", "a")], [whiteout("a")]],
    ["b=1"],
  ],
  [
    "a link to a lower file that the same layer replaces later",
    [[file("a", "1")], [hardlink("b", "a"), file("a", "2")]],
    ["a=2", "b=1"],
  ],

  ["a whiteout of a file", [[file("a", "1"), file("b", "2")], [whiteout("a")]], ["b=2"]],
  ["a whiteout of a directory", [[dir("d"), file("d/f", "1")], [whiteout("d")]], []],
  ["a whiteout of a symlink leaves its target", [[dir("d"), symlink("s", "d")], [whiteout("s")]], ["d/"]],
  ["a whiteout of nothing", [[file("a", "1")], [whiteout("b"), whiteout("c/d")]], ["a=1"]],
  ["a whiteout below a file", [[file("a", "1")], [whiteout("a/x")]], ["a=1"]],
  ["a whiteout in the lowest layer", [[file("a", "1"), whiteout("a")]], ["a=1"]],
  [
    "a whiteout behind the file of its own layer",
    [[file("a", "1")], [file("a", "2"), whiteout("a")]],
    ["a=2"],
  ],
  [
    "a whiteout before the file of its own layer",
    [[file("a", "1")], [whiteout("a"), file("a", "2")]],
    ["a=2"],
  ],
  [
    "a whiteout through a symlinked parent",
    [[dir("d"), file("d/f", "1"), symlink("s", "d")], [whiteout("s/f")]],
    ["d/", "s->d"],
  ],
  [
    "a removed file comes back in a third layer",
    [[file("a", "1")], [whiteout("a")], [file("a", "3")]],
    ["a=3"],
  ],
  [
    "a directory removed and made again is new",
    [
      [dir("d", { mode: 0o700 }), file("d/f", "1")],
      [whiteout("d"), file("d/g", "2")],
    ],
    ["d/", "d/g=2"],
  ],
  [
    "a path known before its directory was removed",
    [[file("d/e/f", "1")], [file("d/e/g", "2")], [whiteout("d/e")], [file("d/e/h", "3")]],
    ["d/", "d/e/", "d/e/h=3"],
  ],

  [
    "an opaque directory hides lower entries",
    [
      [dir("d", { mode: 0o700 }), file("d/f", "1")],
      [opaque("d"), file("d/g", "2")],
    ],
    ["d/ 700", "d/g=2"],
  ],
  [
    "an opaque mark behind its layer's entries",
    [
      [dir("d"), file("d/f", "1")],
      [dir("d"), file("d/g", "2"), opaque("d")],
    ],
    ["d/", "d/g=2"],
  ],
  ["an opaque mark in the lowest layer", [[dir("d"), file("d/f", "1"), opaque("d")]], ["d/", "d/f=1"]],
  ["an opaque mark on nothing", [[file("a", "1")], [opaque("d")]], ["a=1"]],
  ["an opaque mark on a file", [[file("a", "1")], [opaque("a")]], ["a=1"]],
  ["an opaque root", [[file("a", "1")], [opaque(""), file("b", "2")]], ["b=2"]],
  [
    "an opaque mark through a symlink",
    [[dir("d"), file("d/f", "1"), symlink("s", "d")], [opaque("s")]],
    ["d/", "s->d"],
  ],
  [
    "an opaque directory over a symlink spares the symlink's target",
    [
      [dir("x"), file("x/f", "1"), symlink("d", "x")],
      [dir("d"), opaque("d"), file("d/g", "2")],
    ],
    ["d/", "d/g=2", "x/", "x/f=1"],
  ],
  [
    "a whiteout in a directory over a symlink spares its target",
    [
      [dir("x"), file("x/f", "1"), symlink("d", "x")],
      [whiteout("d/f"), dir("d")],
    ],
    ["d/", "x/", "x/f=1"],
  ],

  ["names that are not UTF-8", [[file("\xff\xfe", "1"), file("\u0080", "2")]], ["\u0080=2", "\xff\xfe=1"]],
  ["a name of 255 bytes", [[file("n".repeat(255), "1")]], [`${"n".repeat(255)}=1`]],
  [
    "names that JavaScript objects have",
    [[file("__proto__", "1"), file("constructor/x", "2")]],
    ["__proto__=1", "constructor/", "constructor/x=2"],
  ],
  [
    "the order of names is that of bytes",
    [[file("a-b"), file("a.b"), file("a", "1"), file("B"), file("-")]],
    ["-=", "B=", "a=1", "a-b=", "a.b="],
  ],
];

test.each(ROWS)("%s", (_name, stack, expected) => {
  expect(showTree(merged(stack))).toEqual(expected);
});

const loop = [symlink("a", "b"), symlink("b", "a")];
const chain = Array.from({ length: 41 }, (_, hop) => symlink(`l${hop}`, `l${hop + 1}`));

const ERRORS: [string, Entry[][], RegExp][] = [
  ["a root that is a file", [[file("", "1")]], /the root is always a directory/],
  ["a whiteout of the root", [[], [whiteout("")]], /root cannot be removed/],
  [
    "a parent that is a file",
    [[file("a", "1")], [file("a/b", "2")]],
    /"a\/b": a parent of it is not a directory/,
  ],
  [
    "a parent that is a symlink to a file",
    [[file("f", "1"), symlink("s", "f"), file("s/b", "2")]],
    /not a directory/,
  ],
  ["a parent that is a symlink loop", [[...loop, file("a/f", "1")]], /too many symbolic links/],
  ["a parent behind 41 symlinks", [[...chain, dir("l41"), file("l0/f")]], /too many symbolic links/],
  ["a whiteout through a symlink loop", [loop, [whiteout("a/f")]], /too many symbolic links/],
  ["a hard link to nothing", [[hardlink("b", "a")]], /does not exist/],
  ["a hard link to a later entry", [[hardlink("b", "a"), file("a", "1")]], /does not exist/],
  [
    "a hard link to a removed file",
    [[file("a", "1")], [whiteout("a"), hardlink("b", "a")]],
    /does not exist/,
  ],
  ["a hard link to a directory", [[dir("a"), hardlink("b", "a")]], /is a directory/],
  ["a hard link to the root", [[hardlink("b", "")]], /does not exist/],
  ["a hard link to itself", [[file("a", "1")], [hardlink("a", "a")]], /to itself/],
  ["a name of 256 bytes", [[file("n".repeat(256))]], /too long/],
  ["a parent's name of 256 bytes", [[file(`${"n".repeat(256)}/f`)]], /1\.\.255 bytes/],
  ["a path of 4096 bytes", [[file(`${"abc/".repeat(1023)}defg`)]], /too long/],
  ["a name that ends with a slash", [[file("a/")]], /ends with a slash/],
  ["a name that is a dot", [[file("a/.")]], /not a file name/],
  ["a name that is two dots", [[file("a/..")]], /not a file name/],
  ["a name with a NUL", [[file("a\0b")]], /not a file name/],
];

test.each(ERRORS)("%s is an error that names layer and entry", (_name, stack, message) => {
  expect(() => merged(stack)).toThrow(RootfsError);
  expect(() => merged(stack)).toThrow(message);
  expect(() => merged(stack)).toThrow(/layer sha256:[0-9a-f]{64}: /);
});

test("a chain of 40 symlinks is followed", () => {
  const stack = [[...chain.slice(1), dir("l41"), file("l1/f", "1")]];
  expect(showTree(merged(stack))).toContain("l41/f=1");
});

test("a name in a message cannot write to the terminal", () => {
  const stack = [
    [file("\x1b[2J\u202e".replace("\u202e", "\xe2\x80\xae"), "1"), dir("a"), hardlink("\x1b[2J\x9b", "a")],
  ];
  const message = (() => {
    try {
      merged(stack);
    } catch (error) {
      return String(error);
    }
    return "";
  })();
  expect(message).toContain("\\u001b[2J");
  expect(message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});
