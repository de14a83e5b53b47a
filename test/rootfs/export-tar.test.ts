/** The tar export: what GNU tar, umoci and our own reader make of it; and squashfs, made of it by other programs. */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { encodeHeader } from "../../src/formats/tar/encode.ts";
import type { Header } from "../../src/formats/tar/encode.ts";
import { convertLayer } from "../../src/rootfs/convert.ts";
import { Blobs } from "../../src/rootfs/export/blobs.ts";
import { SQUASHFS_TOOLS, writeSquashfs } from "../../src/rootfs/export/squashfs.ts";
import { tarPieces } from "../../src/rootfs/export/tar.ts";
import { decodeLayerIndex } from "../../src/rootfs/layer-index-file.ts";
import { findProgram } from "../../src/util/find-program.ts";
import type { BuiltLayer, Entry } from "../support/layer-index.ts";
import { buildLayers, file, symlink } from "../support/layer-index.ts";
import { writeLayout } from "../support/oci-layout.ts";
import { scratchDir } from "../support/rootfs-image.ts";
import { SAMPLE, pattern } from "../support/sample-stack.ts";
import { treeOf, writeBlobs } from "../support/ext4-image.ts";
import { collect } from "../support/tar-entries.ts";

const root = process.getuid?.() === 0;

async function archiveOf(dir: string, layers: readonly BuiltLayer[]): Promise<Buffer> {
  const tree = treeOf(layers);
  await using blobs = await Blobs.open(tree, writeBlobs(dir, layers));
  const out: Buffer[] = [];
  for await (const piece of tarPieces(tree, blobs)) out.push(Buffer.from(piece));
  return Buffer.concat(out);
}

/** What every tool and this disk can hold: an archive has no empty xattrs (PAX: "delete"), and 5 GB of nothing take long to read. */
function portable(stack: readonly (readonly Entry[])[]): Entry[][] {
  const hole = { sizeBytes: 5_000_000, chunkBits: 11, chunks: [null] };
  return stack.map((layer) =>
    layer
      .filter(({ name }) => name !== "odd/big-xattr")
      .map((entry) => ({
        ...entry,
        ...(entry.name === "odd/hole" ? { sparse: hole } : {}),
        ...(entry.xattrs ? { xattrs: entry.xattrs.filter(([, , value]) => value.length > 0) } : {}),
      })),
  );
}

const LONG = "long-name/".repeat(30);
const NAMES: Entry[] = [
  file(`${"p".repeat(60)}/${"n".repeat(60)}`, "ustar's prefix"),
  file(`${"p".repeat(160)}/${"n".repeat(20)}`, "too long a prefix"),
  file(`${LONG}${"\xe9".repeat(200)}`, "latin1"),
  symlink("to-long", LONG),
  file("equals", "", { xattrs: [[1, "a=b", Uint8Array.of(0, 10, 255)]] }),
  file("large-ids", pattern(5000, 1), { uid: 4_294_967_294, gid: 2_097_152 }),
  ...[-1, -(2 ** 40), 2 ** 33 - 1, 2 ** 33, 2 ** 45].map((seconds) =>
    file(`time${seconds}`, "", { mtime: [seconds, seconds === -1 ? 0 : 1_000] }),
  ),
];

const STACKS: [string, Entry[][]][] = [
  ["nothing", []],
  ["one of everything", portable(SAMPLE)],
  ["names, numbers and times that ustar cannot hold", [NAMES]],
];

test.each(STACKS)("an archive of an archive is the same archive: %s", async (_name, stack) => {
  using scratch = scratchDir();
  const first = await archiveOf(scratch.path, buildLayers(stack));
  const target = { blobPath: join(scratch.path, "layer"), indexPath: join(scratch.path, "index") };
  const { diffId, blobBlocks } = await convertLayer(pieces(first), "none", target);
  const blob = blobBlocks === 0 ? Buffer.alloc(0) : readFileSync(target.blobPath);
  const again = { diffId, index: decodeLayerIndex(readFileSync(target.indexPath)), blob };
  const second = await archiveOf(scratch.path, [again]);
  expect(collect(second)).toEqual(collect(first));
  expect(second.equals(first)).toBe(true);
});

async function* pieces(data: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += 65_536) yield data.subarray(at, at + 65_536);
}

test("the bytes of a fixed archive are pinned", async () => {
  using scratch = scratchDir();
  const tar = await archiveOf(scratch.path, buildLayers(portable(SAMPLE)));
  expect(createHash("sha256").update(tar).digest("hex")).toMatchInlineSnapshot(
    `"16b1252ac387e508379a636050ee672ca5b4478870f38798c8e5128e5e9da5e9"`,
  );
});

const walker = new URL("../vm/walk.py", import.meta.url).pathname;
/** One line an entry: kind, mode, owner, mtime, links, size, checksum, target, device, xattrs. */
const walk = (dir: string): string[] =>
  execFileSync("python3", [walker, dir], { encoding: "utf8", maxBuffer: 1e9 }).trim().split("\n");

/** The root directory is umoci's and the test's own. */
const withoutRoot = (lines: readonly string[]): string[] =>
  lines.filter((line) => !line.includes('"name":"2e"'));

describe.skipIf(!root)("read by others (skipped without root, which owners and devices need)", () => {
  test("GNU tar and umoci make the same tree of it", async () => {
    using scratch = scratchDir();
    const tar = await archiveOf(scratch.path, buildLayers(portable(SAMPLE)));
    const path = join(scratch.path, "tree.tar");
    writeFileSync(path, tar);
    const gnu = join(scratch.path, "gnu");
    mkdirSync(gnu);
    const kept = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-permissions"];
    const unpacked = spawnSync("tar", ["-C", gnu, ...kept, "-xf", path], { encoding: "utf8" });
    expect(unpacked.stderr.replaceAll(/^.*implausibly old time stamp.*\n/gm, "")).toBe("");
    await writeLayout(join(scratch.path, "oci"), "1", [
      { platform: { os: "linux", architecture: "amd64" }, layers: [tar] },
    ]);
    execFileSync(
      "umoci",
      ["unpack", "--image", `${join(scratch.path, "oci")}:1`, join(scratch.path, "bundle")],
      { stdio: "pipe" },
    );
    const [byGnu, byUmoci] = [walk(gnu), walk(join(scratch.path, "bundle/rootfs"))];
    expect(byGnu.length).toBeGreaterThan(750);
    expect(withoutRoot(byUmoci)).toEqual(withoutRoot(byGnu));
  });

  test.each(SQUASHFS_TOOLS)("$name makes a squashfs of it with the same tree", async (tool) => {
    const program = await findProgram(tool.name);
    const unsquashfs = await findProgram("unsquashfs");
    if (program === undefined || unsquashfs === undefined) return;
    using scratch = scratchDir();
    const layers = buildLayers(portable(SAMPLE));
    const tree = treeOf(layers);
    await using blobs = await Blobs.open(tree, writeBlobs(scratch.path, layers));
    const path = join(scratch.path, "tree.squashfs");
    await writeSquashfs({ program, tool }, { tree, blobs }, path, {});
    execFileSync(unsquashfs, ["-d", join(scratch.path, "tree"), "-no-progress", path], { stdio: "pipe" });
    const archived = join(scratch.path, "tree.tar");
    writeFileSync(archived, await archiveOf(scratch.path, layers));
    mkdirSync(join(scratch.path, "gnu"));
    const kept = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-permissions"];
    spawnSync("tar", ["-C", join(scratch.path, "gnu"), ...kept, "-xf", archived]);
    // Squashfs has whole seconds from 1970 on.
    const timeless = (lines: readonly string[]): string[] =>
      lines.map((line) => line.replace(/"mtime":-?\d+/, '"mtime": 0'));
    const [bySquashfs, byTar] = [walk(join(scratch.path, "tree")), walk(join(scratch.path, "gnu"))];
    expect(timeless(withoutRoot(bySquashfs))).toEqual(timeless(withoutRoot(byTar)));
  });
});

const BASE: Header = {
  type: "0",
  name: "f",
  mode: 0o644,
  uid: 0,
  gid: 0,
  storedBytes: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
};

/** Header fields, and the PAX records that they take. */
const RECORDS: [Partial<Header>, string][] = [
  [{}, ""],
  [{ name: "n".repeat(100) }, ""],
  [{ name: "n".repeat(101) }, `111 path=${"n".repeat(101)}\n`],
  [{ name: `${"p".repeat(155)}/${"n".repeat(100)}` }, ""],
  [{ linkName: "l".repeat(100) }, ""],
  [{ linkName: "l".repeat(101) }, `115 linkpath=${"l".repeat(101)}\n`],
  [{ uid: 0o7777777, gid: 0o7777777, mtimeSeconds: 0o77777777777 }, ""],
  [{ uid: 0o10000000 }, "15 uid=2097152\n"],
  [{ storedBytes: 2 ** 33 }, "19 size=8589934592\n"],
  [{ mtimeSeconds: 1, mtimeNanoseconds: 500_000_000 }, "13 mtime=1.5\n"],
  [{ mtimeSeconds: -1, mtimeNanoseconds: 500_000_000 }, "14 mtime=-0.5\n"],
  [{ mtimeSeconds: -2, mtimeNanoseconds: 1 }, "22 mtime=-1.999999999\n"],
  [{ mtimeSeconds: -2 }, "12 mtime=-2\n"],
  // A length that gets longer by counting itself.
  [{ records: [["k", Buffer.alloc(93, "v")]] }, `99 k=${"v".repeat(93)}\n`],
  [{ records: [["k", Buffer.alloc(94, "v")]] }, `101 k=${"v".repeat(94)}\n`],
];

test.each(RECORDS)("records where they are needed: %o", (fields, records) => {
  const bytes = encodeHeader({ ...BASE, ...fields });
  const extension = bytes.subarray(512, Math.max(512, bytes.length - 512)).toString("latin1");
  expect(extension.replace(/\0+$/, "")).toBe(records);
});
