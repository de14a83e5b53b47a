/** What a hostile container's archive may do to the host: nothing outside of the folder it is copied to. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { placeOf } from "../../src/container/copy/copy.ts";
import { hostArchive } from "../../src/container/copy/host-archive.ts";
import { HostTree } from "../../src/container/copy/host-tree.ts";
import { END_BYTES, encodeHeader, paddingOf } from "../../src/formats/tar/encode.ts";
import type { TypeFlag } from "../../src/formats/tar/encode.ts";
import { TarReader } from "../../src/formats/tar/reader.ts";
import { FlameBoxError } from "../../src/util/error.ts";

let outside: string;
let dir: string;
beforeEach(() => {
  outside = mkdtempSync(join(tmpdir(), "flamebox-tree-"));
  dir = join(outside, "target");
  mkdirSync(dir);
  writeFileSync(join(outside, "canary"), "alive");
});
afterEach(() => rmSync(outside, { recursive: true, force: true }));

interface Member {
  readonly name: string;
  readonly type?: TypeFlag;
  readonly link?: string;
  readonly data?: string;
  readonly mode?: number;
}

function tar(members: readonly Member[]): Buffer {
  const parts = members.flatMap(({ name, type = "0", link, data = "", mode = 0o644 }) => [
    encodeHeader({
      type,
      name,
      linkName: link,
      mode,
      uid: 0,
      gid: 0,
      storedBytes: data.length,
      mtimeSeconds: 1_000_000,
      mtimeNanoseconds: 0,
    }),
    Buffer.from(data),
    Buffer.alloc(paddingOf(data.length)),
  ]);
  return Buffer.concat([...parts, Buffer.alloc(END_BYTES)]);
}

const skipped: string[] = [];

function extract(members: readonly Member[], as = "src"): void {
  skipped.length = 0;
  const tree = new HostTree(dir, { as, keepOwners: false, onSkipped: (name) => skipped.push(name) });
  try {
    const reader = new TarReader(tree);
    reader.push(tar(members));
    reader.finish();
    tree.finish();
  } finally {
    tree[Symbol.dispose]();
  }
}

/** What lives outside of the folder, and whether the canary does. */
function seenOutside(): { readonly canary: string; readonly names: string[] } {
  return { canary: readFileSync(join(outside, "canary"), "utf8"), names: readdirSync(outside).toSorted() };
}

const UNTOUCHED = { canary: "alive", names: ["canary", "target"] };

const DIR: Member = { name: "src/", type: "5", mode: 0o755 };

test.each<[string, Member[]]>([
  ["a name with ..", [DIR, { name: "src/../../canary", data: "dead" }]],
  ["an absolute name", [{ name: "/canary", data: "dead" }]],
  [
    "a file through a link of the archive's",
    [DIR, { name: "src/up", type: "2", link: "../.." }, { name: "src/up/canary", data: "dead" }],
  ],
  [
    "a directory through a link",
    [DIR, { name: "src/up", type: "2", link: "../.." }, { name: "src/up/made/", type: "5" }],
  ],
  ["a hard link with ..", [DIR, { name: "src/got", type: "1", link: "src/../../canary" }]],
  ["a hard link to an absolute name", [DIR, { name: "src/got", type: "1", link: "/etc/passwd" }]],
  [
    "a hard link through a link",
    [
      DIR,
      { name: "src/up", type: "2", link: "../.." },
      { name: "src/got", type: "1", link: "src/up/canary" },
    ],
  ],
  ["a file where a directory is", [DIR, { name: "src/a/", type: "5" }, { name: "src/a", data: "x" }]],
  ["a directory where a file is", [DIR, { name: "src/a", data: "x" }, { name: "src/a/b", data: "y" }]],
  ["more directories in each other than there may be", [{ name: `src/${"d/".repeat(1_100)}f`, data: "x" }]],
  ["a file for the folder itself", [{ name: "src", data: "x" }]],
])("%s is refused", (_name, members) => {
  expect(() => extract(members, members[0]?.name === "src" ? "" : "src")).toThrow(FlameBoxError);
  expect(seenOutside()).toEqual(UNTOUCHED);
});

describe("what was there before", () => {
  test("a link is not followed, but replaced by a file of its name", () => {
    mkdirSync(join(dir, "src"));
    symlinkSync("../../canary", join(dir, "src", "f"));
    extract([DIR, { name: "src/f", data: "new" }]);
    expect(lstatSync(join(dir, "src", "f")).isFile()).toBe(true);
    expect(seenOutside()).toEqual(UNTOUCHED);
  });

  test("a link in the place of a directory is refused", () => {
    symlinkSync("..", join(dir, "src"));
    expect(() => extract([DIR, { name: "src/canary", data: "dead" }])).toThrow(/is a link to/);
    expect(seenOutside()).toEqual(UNTOUCHED);
  });

  test("files are replaced, directories are filled", () => {
    mkdirSync(join(dir, "src"));
    writeFileSync(join(dir, "src", "old"), "old");
    writeFileSync(join(dir, "src", "f"), "before");
    extract([DIR, { name: "src/f", data: "after" }]);
    expect(readFileSync(join(dir, "src", "f"), "utf8")).toBe("after");
    expect(readFileSync(join(dir, "src", "old"), "utf8")).toBe("old");
  });
});

test("a benign archive is there as it was, without set-id bits, and devices are told", () => {
  extract([
    DIR,
    { name: "src/sub/", type: "5", mode: 0o500 },
    { name: "src/sub/f", data: "text", mode: 0o4755 },
    { name: "src/l", type: "2", link: "sub/f" },
    { name: "src/h", type: "1", link: "src/sub/f" },
    { name: "src/null", type: "3" },
  ]);
  const sub = join(dir, "src", "sub");
  expect(statSync(sub).mode & 0o7777).toBe(0o500);
  expect(statSync(join(sub, "f")).mode & 0o7777).toBe(0o755);
  expect(statSync(join(sub, "f")).mtimeMs).toBe(1_000_000_000);
  expect(readlinkSync(join(dir, "src", "l"))).toBe("sub/f");
  expect(statSync(join(dir, "src", "h")).ino).toBe(statSync(join(sub, "f")).ino);
  expect(skipped).toEqual(["src/null"]);
});

test("no archive of random names and links reaches anything outside (seeded)", () => {
  const part = fc.constantFrom("src", "a", "b", "..", ".", "", "link");
  const name = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join("/"));
  const member = fc.record({
    name: fc.oneof(
      name,
      name.map((rest) => `/${rest}`),
    ),
    type: fc.constantFrom<TypeFlag>("0", "1", "2", "5"),
    link: name,
    data: fc.constant(""),
  });
  fc.assert(
    fc.property(fc.array(member, { maxLength: 10 }), (members) => {
      rmSync(dir, { recursive: true, force: true });
      mkdirSync(dir);
      try {
        extract(members.filter((one) => one.name.length > 0));
      } catch {
        // Refused, or the reader's own error.
      }
      expect(seenOutside()).toEqual(UNTOUCHED);
    }),
    { seed: 33, numRuns: 400 },
  );
});

test.each<[string, Parameters<typeof placeOf>, ReturnType<typeof placeOf>]>([
  [
    "a file into a directory",
    [
      { path: "/a/f", isDirectory: false },
      { path: "out", isDirectory: true },
    ],
    { dir: "out", as: "f" },
  ],
  [
    "a file to a name",
    [
      { path: "/a/f", isDirectory: false },
      { path: "out/g", isDirectory: undefined },
    ],
    { dir: "out", as: "g" },
  ],
  [
    "a file over a file",
    [
      { path: "/a/f", isDirectory: false },
      { path: "out/g", isDirectory: false },
    ],
    { dir: "out", as: "g" },
  ],
  [
    "a directory into one",
    [
      { path: "/a/d/", isDirectory: true },
      { path: "out", isDirectory: true },
    ],
    { dir: "out", as: "d" },
  ],
  [
    "what is in a directory",
    [
      { path: "/a/d/.", isDirectory: true },
      { path: "out", isDirectory: true },
    ],
    { dir: "out", as: "" },
  ],
  [
    "a directory to a name",
    [
      { path: "/a/d", isDirectory: true },
      { path: "out/", isDirectory: undefined },
    ],
    { dir: ".", as: "out" },
  ],
])("copies %s as docker cp does", (_name, [source, destination], place) => {
  expect(placeOf(source, destination)).toEqual(place);
});

test.each<[string, Parameters<typeof placeOf>]>([
  [
    "a directory over a file",
    [
      { path: "d", isDirectory: true },
      { path: "f", isDirectory: false },
    ],
  ],
  [
    "a file to a directory that is not there",
    [
      { path: "f", isDirectory: false },
      { path: "d/", isDirectory: undefined },
    ],
  ],
])("refuses %s", (_name, [source, destination]) => {
  expect(() => placeOf(source, destination)).toThrow(
    expect.objectContaining({ code: "copy-refused" }) as Error,
  );
});

test("a folder of the host comes through an archive as it was", async () => {
  const source = join(outside, "source");
  mkdirSync(join(source, "sub"), { recursive: true });
  writeFileSync(join(source, "sub", "f"), Buffer.alloc(700_000, "z"));
  symlinkSync("sub/f", join(source, "l"));
  const options = { as: "copy", follow: false, onSkipped: () => {} };
  const tree = new HostTree(dir, { as: "copy", keepOwners: false, onSkipped: () => {} });
  const reader = new TarReader(tree);
  for await (const chunk of hostArchive(source, options)) reader.push(chunk);
  reader.finish();
  tree.finish();
  tree[Symbol.dispose]();
  expect(readFileSync(join(dir, "copy", "sub", "f")).equals(Buffer.alloc(700_000, "z"))).toBe(true);
  expect(readlinkSync(join(dir, "copy", "l"))).toBe("sub/f");
  expect(existsSync(join(dir, "source"))).toBe(false);
  rmSync(source, { recursive: true });
});
