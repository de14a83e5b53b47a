import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import type { Entry } from "../support/layer-index.ts";
import { buildLayers, dir, file, symlink } from "../support/layer-index.ts";
import { scratchDir } from "../support/rootfs-image.ts";
import { SAMPLE, pattern } from "../support/sample-stack.ts";
import { e2fsck, writeExt4File } from "../support/ext4-image.ts";

const CLEAN = { status: 0, said: "" };
/** All of the sample that an ext4 file system can hold. */
export const HOLDABLE = SAMPLE.map((layer) => layer.filter(({ name }) => name !== "odd/big-xattr"));

const STACKS: [string, Entry[][]][] = [
  ["no layers", []],
  ["one small file, no blob", [[file("f", "1")]]],
  ["one block", [[file("f", pattern(4096, 1))]]],
  ["one of everything", HOLDABLE],
];

test.each(STACKS)("e2fsck finds nothing wrong: %s", async (_name, stack) => {
  using scratch = scratchDir();
  const path = await writeExt4File(scratch.path, buildLayers(stack));
  execFileSync("cp", [path, "/tmp/wt-exports-work/last.ext4"]);
  expect(e2fsck(path)).toEqual(CLEAN);
});

const debug = (path: string, request: string): string =>
  execFileSync("/usr/sbin/debugfs", ["-R", request, path], {
    encoding: "latin1",
    maxBuffer: 1e9,
    stdio: "pipe",
  });

test("hash", async () => {
  using scratch = scratchDir();
  const names = [
    "a",
    "hello",
    "x".repeat(31),
    "x".repeat(32),
    "x".repeat(33),
    "y".repeat(255),
    "\xff\xfe\x80abc",
    "f12345",
  ];
  const path = await writeExt4File(
    scratch.path,
    buildLayers([Array.from({ length: 100_000 }, (_, n) => file(`many/f${n}`))]),
  );
  execFileSync("cp", ["--sparse=always", path, "/tmp/wt-exports-work/last.ext4"]);
  expect(e2fsck(path)).toEqual(CLEAN);
  const path2 = await writeExt4File(
    scratch.path,
    buildLayers([Array.from({ length: 20_000 }, (_, n) => file(`many/${n}${"f".repeat(245)}`))]),
    { name: "b" },
  );
  execFileSync("cp", ["--sparse=always", path2, "/tmp/wt-exports-work/last2.ext4"]);
  expect(e2fsck(path2)).toEqual(CLEAN);
  const chunks = Array.from({ length: 4000 }, (_, n) => (n % 2 ? null : pattern(4096, n)));
  const path3 = await writeExt4File(
    scratch.path,
    buildLayers([
      [
        file(`s`, "", { sparse: { sizeBytes: 4000 * 4096, chunkBits: 0, chunks } }),
        ...Array.from({ length: 65_100 }, (_, n) => dir(`d/${n}`)),
      ],
    ]),
    { name: "c" },
  );
  execFileSync("cp", ["--sparse=always", path3, "/tmp/wt-exports-work/last3.ext4"]);
  expect(e2fsck(path3)).toEqual(CLEAN);
}, 100_000);
