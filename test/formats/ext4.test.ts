/** The ext4 writer, judged by e2fsprogs: e2fsck finds nothing to change, debugfs sees what the tree says. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { blobRuns, bytesOf } from "../../src/formats/erofs/blob-runs.ts";
import { Content } from "../../src/formats/erofs/tree.ts";
import type { ValidatedTree } from "../../src/formats/erofs/tree.ts";
import { storedAcl } from "../../src/formats/ext4/acl.ts";
import { dumpExt4 } from "../../src/formats/ext4/dump.ts";
import { Ext4Error, SUPER_BLOCK } from "../../src/formats/ext4/format.ts";
import { inodeNumber } from "../../src/formats/ext4/geometry.ts";
import { nameHash } from "../../src/formats/ext4/name-hash.ts";
import { buildExt4 } from "../../src/formats/ext4/writer.ts";
import { DataKind } from "../../src/rootfs/layer-index.ts";
import { posixAclXattr } from "../../src/formats/tar/acl.ts";
import type { BuiltLayer, Entry } from "../support/layer-index.ts";
import { buildLayer, buildLayers, device, dir, file, hardlink, symlink } from "../support/layer-index.ts";
import { scratchDir } from "../support/rootfs-image.ts";
import { pattern } from "../support/sample-stack.ts";
import { CLEAN, HOLDABLE, UUID, debugfs, e2fsck, treeOf, writeExt4File } from "../support/ext4-image.ts";

const MIB = 2 ** 20;
const files = (count: number, name: (number: number) => string): Entry[] =>
  Array.from({ length: count }, (_, number) => file(name(number)));
const acl = (text: string): Uint8Array => posixAclXattr(text) ?? new Uint8Array(0);

const STACKS: [string, Entry[][]][] = [
  ["no layers", []],
  ["one small file, no blob", [[file("f", "1")]]],
  ["one block", [[file("f", pattern(4096, 1))]]],
  ["one of everything", HOLDABLE],
  ["a directory that just fits one block", [files(254, (n) => `${n}`.padStart(8, "0"))]],
  ["and one that does not", [files(255, (n) => `${n}`.padStart(8, "0"))]],
  ["100,000 names in a directory", [files(100_000, (n) => `many/file${n}`)]],
  ["an index of two levels", [files(12_000, (n) => `many/${n}${"n".repeat(248)}`)]],
  ["70,000 subdirectories", [Array.from({ length: 70_000 }, (_, n) => dir(`many/${n}`))]],
  [
    "65,000 names of a file",
    [[file("a"), ...Array.from({ length: 64_999 }, (_, n) => hardlink(`l/${n}`, "a"))]],
  ],
  [
    "a file of 3,000 extents",
    [
      [
        file("s", "", {
          sparse: {
            sizeBytes: 6000 * 4096,
            chunkBits: 0,
            chunks: Array.from({ length: 6000 }, (_, n) => (n % 2 === 0 ? pattern(4096, n) : null)),
          },
        }),
      ],
    ],
  ],
  [
    "ACLs",
    [
      [
        file("f", "x", { xattrs: [[2, "", acl("u::rw-,u:1000:r--,g::r--,g:4000000000:rwx,m::rwx,o::---")]] }),
        dir("d", { xattrs: [[3, "", acl("u::rwx,g::r-x,o::r-x")]] }),
      ],
    ],
  ],
  [
    "times at the edges",
    [
      [-(2 ** 31) - 5, -1, 2 ** 31, 2 ** 32 + 7, 2 ** 34, 1e12].map((t) =>
        file(`t${t}`, "", { mtime: [t, 5] }),
      ),
    ],
  ],
];

test.each(STACKS)("e2fsck finds nothing wrong: %s", async (_name, stack) => {
  using scratch = scratchDir();
  expect(e2fsck(await writeExt4File(scratch.path, buildLayers(stack)))).toEqual(CLEAN);
});

test.each([8, 9, 127, 128, 129, 130, 133, 255, 256, 257, 1024, 30 * 1024, 2 * MIB])(
  "e2fsck finds nothing wrong with a disk of %d MiB",
  async (sizeMib) => {
    using scratch = scratchDir();
    const sizeBytes = sizeMib * MIB;
    const path = await writeExt4File(scratch.path, buildLayers(HOLDABLE), { sizeBytes });
    expect(statSync(path).size).toBe(sizeBytes);
    expect(e2fsck(path)).toEqual(CLEAN);
    // The rest is a hole.
    expect(statSync(path).blocks * 512).toBeLessThan(32 * MIB);
  },
);

/** One file of more than 4 GiB whose blob is nearly all hole. */
function largeFile(blobPath: string): BuiltLayer {
  const sizeBytes = 4100 * MIB + 1;
  const blobBlocks = Math.ceil(sizeBytes / 4096);
  writeFileSync(blobPath, "start");
  truncateSync(blobPath, blobBlocks * 4096);
  const { diffId, index } = buildLayer([file("large", "x")]);
  const columns = {
    sizeBytes: Float64Array.of(sizeBytes),
    dataKind: Uint8Array.of(DataKind.extent),
    dataOffset: Uint32Array.of(0),
  };
  return { diffId, index: { ...index, ...columns, blobBlocks }, blob: Buffer.alloc(0) };
}

test("e2fsck finds nothing wrong: a file of more than 4 GiB", async () => {
  using scratch = scratchDir();
  const path = await writeExt4File(scratch.path, [largeFile(join(scratch.path, "blob0"))]);
  expect(e2fsck(path)).toEqual(CLEAN);
  const [stat] = debugfs(path, ["stat /large"]);
  expect(stat).toMatch(/Size: 4299161601/);
}, 180_000);

const KINDS: Readonly<Record<number, string>> = {
  0o01: "FIFO",
  0o02: "character special",
  0o04: "directory",
  0o06: "block special",
  0o10: "regular",
  0o12: "symlink",
};

/** What `stat` of debugfs should say of an inode, in its words. */
function expectedStat(tree: ValidatedTree, inode: number): Record<string, string> {
  const mode = tree.mode[inode] ?? 0;
  const seconds = tree.mtimeSeconds[inode] ?? 0;
  const hex = (value: number): string => (value >>> 0).toString(16).padStart(8, "0");
  const isDirectory = mode >>> 12 === 0o04;
  return {
    kind: KINDS[mode >>> 12] ?? "?",
    mode: (mode & 0o7777).toString(8),
    owner: `${tree.uid[inode]}:${tree.gid[inode]}`,
    links: `${tree.nlink[inode]}`,
    size: isDirectory ? "" : `${tree.sizeBytes[inode]}`,
    // Of the second word: nanoseconds, and two more bits of the seconds; the sample has none before 1901.
    mtime: `${hex(seconds)}:${hex((tree.mtimeNanoseconds[inode] ?? 0) * 4)}`,
    device:
      mode >>> 12 === 0o02 || mode >>> 12 === 0o06 ? `${tree.rdevMajor[inode]}:${tree.rdevMinor[inode]}` : "",
  };
}

function readStat(text: string): Record<string, string> {
  const find = (pattern: RegExp): string[] => pattern.exec(text)?.slice(1) ?? [];
  const [kind = "", mode = ""] = find(/Type: (.*?)\s+Mode:\s+(\d+)/);
  const [uid = "", gid = "", size = ""] = find(/User:\s+(-?\d+)\s+Group:\s+(-?\d+).*Size: (\d+)/);
  const [links = ""] = find(/Links: (\d+)/);
  const [seconds = "", extra = ""] = find(/ mtime: 0x([0-9a-f]+):([0-9a-f]+)/);
  const [device = ""] = find(/Device major\/minor number: (\d+:\d+)/);
  const unsigned = (id: string): number => Number(id) >>> 0;
  return {
    kind,
    mode: mode.replace(/^0+(?=\d)/, ""),
    owner: `${unsigned(uid)}:${unsigned(gid)}`,
    links,
    size: kind === "directory" ? "" : size,
    mtime: `${seconds}:${extra}`,
    device: device.replace(/^0*(\d)/, "$1").replace(/:0*(\d)/, ":$1"),
  };
}

/** A file's bytes out of the layers' blobs. */
function contentOf(tree: ValidatedTree, layers: readonly BuiltLayer[], inode: number): Buffer {
  const kind = tree.content[inode];
  if (kind === Content.none) return Buffer.alloc(0);
  if (kind === Content.bytes) return Buffer.from(bytesOf(tree, inode));
  const out = Buffer.alloc(tree.sizeBytes[inode] ?? 0);
  for (const { logical, blobBlock, count } of blobRuns(tree, inode)) {
    const from = layers[tree.source[inode] ?? 0]?.blob ?? Buffer.alloc(0);
    from.copy(out, logical * 4096, blobBlock * 4096, (blobBlock + count) * 4096);
  }
  return out;
}

describe("debugfs sees", () => {
  const layers = buildLayers(HOLDABLE);
  const tree = treeOf(layers);
  const inodes = Array.from({ length: tree.inodeCount }, (_, inode) => inode);

  test("every inode as it is in the tree", async () => {
    using scratch = scratchDir();
    const path = await writeExt4File(scratch.path, layers);
    const stats = debugfs(
      path,
      inodes.map((inode) => `stat <${inodeNumber(inode)}>`),
    );
    expect(stats.map(readStat)).toEqual(inodes.map((inode) => expectedStat(tree, inode)));
  });

  test("every name", async () => {
    using scratch = scratchDir();
    const path = await writeExt4File(scratch.path, layers);
    const directories = inodes.filter((inode) => (tree.mode[inode] ?? 0) >>> 12 === 0o04);
    const lists = debugfs(
      path,
      directories.map((inode) => `ls -p <${inodeNumber(inode)}>`),
    );
    const seen = lists.map((list) =>
      [...list.matchAll(/^\/(\d+)\/\d+\/-?\d+\/-?\d+\/(.*?)\/\d*\/$/gm)].map(
        ([, number, name]) => `${number} ${name}`,
      ),
    );
    const expected = directories.map((inode) => {
      const rows = tree.childName.slice(tree.firstChild[inode], tree.firstChild[inode + 1]);
      const first = tree.firstChild[inode] ?? 0;
      const children = rows.map((name, row) => `${inodeNumber(tree.childInode[first + row] ?? 0)} ${name}`);
      return [`${inodeNumber(inode)} .`, `${inodeNumber(tree.parent[inode] ?? 0)} ..`, ...children];
    });
    expect(seen.map((names) => names.toSorted())).toEqual(expected.map((names) => names.toSorted()));
  });

  test("every file's content, and every symlink's target", async () => {
    using scratch = scratchDir();
    const path = await writeExt4File(scratch.path, layers);
    const small = inodes.filter((inode) => (tree.sizeBytes[inode] ?? 0) < MIB);
    const files = small.filter((inode) => (tree.mode[inode] ?? 0) >>> 12 === 0o10);
    const out = (inode: number): string => join(scratch.path, `f${inode}`);
    debugfs(
      path,
      files.map((inode) => `dump <${inodeNumber(inode)}> ${out(inode)}`),
    );
    for (const inode of files) {
      expect([inode, readFileSync(out(inode)).equals(contentOf(tree, layers, inode))]).toEqual([inode, true]);
    }
    const links = small.filter((inode) => (tree.mode[inode] ?? 0) >>> 12 === 0o12);
    // A long target is in a block, which debugfs shows as a file's.
    const long = links.filter((inode) => (tree.sizeBytes[inode] ?? 0) >= 60);
    const targets = debugfs(
      path,
      long.map((inode) => `cat <${inodeNumber(inode)}>`),
    );
    expect(targets).toEqual(long.map((inode) => Buffer.from(bytesOf(tree, inode)).toString("latin1")));
    const short = links.filter((inode) => !long.includes(inode));
    const shown = debugfs(
      path,
      short.map((inode) => `stat <${inodeNumber(inode)}>`),
    );
    expect(shown.map((text) => /Fast link dest: "(.*)"/.exec(text)?.[1])).toEqual(
      short.map((inode) => Buffer.from(bytesOf(tree, inode)).toString("latin1")),
    );
  });

  test("extended attributes, behind an inode and in a block", async () => {
    using scratch = scratchDir();
    const path = await writeExt4File(scratch.path, layers);
    const [list, big] = debugfs(path, ["ea_list /odd/xattrs", "ea_get -x /odd/xattrs user.big"]);
    expect(
      list
        ?.match(/^ {2}\S+ \(\d+\)/gm)
        ?.map((line) => line.trim())
        .sort(),
    ).toEqual(["trusted.trust (1)", "user.big (3000)", "user.binary (3)", "user.empty (0)"]);
    const hex = Buffer.from(pattern(3000, 7)).toString("hex");
    expect(big?.replaceAll(/[^0-9a-f]/g, "").endsWith(hex)).toBe(true);
  });

  test("the same hashes of names", async () => {
    using scratch = scratchDir();
    const path = await writeExt4File(scratch.path, layers);
    const seed = new Int32Array(Uint8Array.from(UUID).buffer);
    const names = [
      "a",
      "hello",
      ...[31, 32, 33, 63, 64, 65, 255].map((length) => "xyz".repeat(90).slice(0, length)),
    ];
    const uuid = Buffer.from(UUID)
      .toString("hex")
      .replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
    const answers = debugfs(
      path,
      names.map((name) => `dx_hash -h half_md4 -s ${uuid} ${name}`),
    );
    expect(answers.map((answer) => /is 0x([0-9a-f]+)/.exec(answer)?.[1])).toEqual(
      names.map((name) => nameHash(name, seed).toString(16)),
    );
  });
});

test("the same tree gives the same bytes, whatever was in the file's place", async () => {
  using scratch = scratchDir();
  const digest = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
  const first = digest(await writeExt4File(scratch.path, buildLayers(HOLDABLE)));
  expect(digest(await writeExt4File(scratch.path, buildLayers(HOLDABLE)))).toBe(first);
  expect(first).toMatchInlineSnapshot(`"6398fead4cd805f2f72bf4aeb1bbac45569b8092ae05692af6669189a0b558ad"`);
});

test("there is room for a quarter more, 64 MiB, and new files", async () => {
  using scratch = scratchDir();
  const path = await writeExt4File(scratch.path, buildLayers([files(50_000, (n) => `d/${n}`)]));
  const [stats = ""] = debugfs(path, ["stats"]);
  const number = (what: string): number => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(stats)?.[1]);
  expect(number("Free blocks") * 4096).toBeGreaterThan(60 * MIB);
  expect(number("Free inodes")).toBeGreaterThan(10_000);
});

test("resize2fs makes it larger", async () => {
  using scratch = scratchDir();
  const path = await writeExt4File(scratch.path, buildLayers(HOLDABLE));
  truncateSync(path, 1024 * MIB);
  execFileSync("/usr/sbin/resize2fs", [path], { stdio: "pipe" });
  expect(e2fsck(path)).toEqual(CLEAN);
});

const tooManyLinks = [file("a"), ...Array.from({ length: 65_000 }, (_, n) => hardlink(`l/${n}`, "a"))];
const huge = { sizeBytes: 2 ** 45, chunkBits: 23, chunks: Array<null>(1024).fill(null) };

/** Name, tree, options, what is said. */
const REFUSED: [string, Entry[], { readonly sizeBytes?: number }, RegExp][] = [
  ["a disk of nothing", [], { sizeBytes: 4096 }, /need a disk of \d+ MiB, and 4096 bytes/],
  [
    "a disk that the files do not fit",
    [file("f", pattern(9 * MIB, 1))],
    { sizeBytes: 9 * MIB },
    /11 MiB, and 9437184/,
  ],
  [
    "a disk that the inodes do not fit",
    files(60_000, (n) => `${n}`),
    { sizeBytes: 9 * MIB },
    /need a disk of/,
  ],
  ["a disk beyond 16 TiB", [], { sizeBytes: 2 ** 44 + 4096 }, /16 TiB/],
  [
    "more xattrs than a block",
    [file("x", "", { xattrs: [[1, "a", pattern(5000, 1)]] })],
    {},
    /"\/x".*of a block's 4060/,
  ],
  [
    "a malformed ACL",
    [dir("d"), file("d/x", "", { xattrs: [[2, "", Uint8Array.of(2, 0, 0, 0, 9)]] })],
    {},
    /"\/d\/x".*ACL/,
  ],
  ["65,001 names of a file", tooManyLinks, {}, /"\/a".*65001 names/],
  ["a file of 32 TiB", [file("h", "", { sparse: huge })], {}, /"\/h".*16 TiB/],
];

test.each(REFUSED)("refused: %s", (_name, entries, options, message) => {
  const build = () => buildExt4(treeOf([buildLayer(entries)]), { uuid: UUID, ...options });
  expect(build).toThrow(Ext4Error);
  expect(build).toThrow(message);
});

test("what is said to be enough is enough", async () => {
  using scratch = scratchDir();
  const entries = [
    file("f", pattern(9 * MIB, 1)),
    ...files(5000, (n) => `d/${n}`),
    symlink("l", "x"),
    device("block", "b", 8, 0),
  ];
  const sizeOf = (sizeBytes: number): number => {
    try {
      buildExt4(treeOf([buildLayer(entries)]), { uuid: UUID, sizeBytes });
      return sizeBytes;
    } catch (error) {
      return Number(/disk of (\d+) MiB/.exec(String(error))?.[1]) * MIB;
    }
  };
  const sizeBytes = sizeOf(MIB);
  expect(sizeBytes).toBeGreaterThan(10 * MIB);
  expect(e2fsck(await writeExt4File(scratch.path, [buildLayer(entries)], { sizeBytes }))).toEqual(CLEAN);
});

test.each<[string, Uint8Array, string | undefined]>([
  ["nothing", new Uint8Array(0), undefined],
  ["only a version", Uint8Array.of(2, 0, 0, 0), undefined],
  ["another version", Uint8Array.of(1, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255), undefined],
  ["half an entry", Uint8Array.of(2, 0, 0, 0, 1, 0, 7, 0), undefined],
  ["an unknown tag", Uint8Array.of(2, 0, 0, 0, 3, 0, 7, 0, 255, 255, 255, 255), undefined],
  ["more permissions than there are", Uint8Array.of(2, 0, 0, 0, 1, 0, 8, 0, 255, 255, 255, 255), undefined],
  ["the owner's", acl("u::rw-"), "0100000001000600"],
  ["a named user's", acl("u:258:r-x"), "010000000200050002010000"],
])("an ACL as it is stored: %s", (_name, xattr, stored) => {
  const got = storedAcl(xattr);
  expect(got === undefined ? undefined : Buffer.from(got).toString("hex")).toBe(stored);
});

describe("the dump", () => {
  const head = (sizeBytes?: number): Buffer => {
    const out = Buffer.alloc(2 * 4096);
    for (const { offset, bytes } of buildExt4(treeOf(buildLayers(HOLDABLE)), {
      uuid: UUID,
      sizeBytes,
    }).pieces()) {
      if (offset < out.length) out.set(bytes.subarray(0, out.length - offset), offset);
    }
    return out;
  };

  test("of a disk of two groups", () => {
    expect(dumpExt4(head(200 * MIB))).toMatchInlineSnapshot(`
      "s_inodes_count 12832
      s_blocks_count_lo 51200
      s_r_blocks_count_lo 0
      s_free_blocks_count_lo 49812
      s_free_inodes_count 12070
      s_first_data_block 0
      s_log_block_size 2
      s_log_cluster_size 2
      s_blocks_per_group 32768
      s_clusters_per_group 32768
      s_inodes_per_group 6416
      s_mtime 0
      s_wtime 0
      s_mnt_count 0
      s_max_mnt_count 65535
      s_magic 61267
      s_state 1
      s_errors 1
      s_minor_rev_level 0
      s_lastcheck 0
      s_checkinterval 0
      s_creator_os 0
      s_rev_level 1
      s_def_resuid 0
      s_def_resgid 0
      s_first_ino 11
      s_inode_size 256
      s_block_group_nr 0
      s_feature_compat 0x00000028
      s_feature_incompat 0x000000c2
      s_feature_ro_compat 0x0000046b
      s_uuid 0102030405060708090a0b0c0d0e0f10
      s_volume_name 00000000000000000000000000000000
      s_last_mounted 00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
      s_hash_seed 0102030405060708090a0b0c0d0e0f10
      s_def_hash_version 1
      s_desc_size 64
      s_default_mount_opts 0x0000000c
      s_mkfs_time 0
      s_blocks_count_hi 0
      s_r_blocks_count_hi 0
      s_free_blocks_count_hi 0
      s_min_extra_isize 32
      s_want_extra_isize 32
      s_flags 0x00000002
      s_log_groups_per_flex 0
      s_checksum_type 1
      s_checksum 0x0c55aa27
      group 0 bitmaps 2 3 table 4 free blocks 31785 inodes 5654 directories 12 flags 4
      group 1 bitmaps 32770 32771 table 32772 free blocks 18027 inodes 6416 directories 0 flags 4
      "
    `);
  });

  test.each<[string, (bytes: Buffer) => Buffer | void, RegExp]>([
    ["nothing", () => Buffer.alloc(0), /0 bytes/],
    ["less than a block", (bytes) => bytes.subarray(0, 4095), /4095 bytes/],
    ["zeros", () => Buffer.alloc(8192), /magic is 0/],
    ["another magic", (bytes) => void bytes.writeUInt16LE(1, 1024 + SUPER_BLOCK.at.s_magic), /magic is 1/],
    [
      "smaller blocks",
      (bytes) => void bytes.writeUInt32LE(0, 1024 + SUPER_BLOCK.at.s_log_block_size),
      /other blocks/,
    ],
    [
      "short descriptors",
      (bytes) => void bytes.writeUInt16LE(32, 1024 + SUPER_BLOCK.at.s_desc_size),
      /other blocks/,
    ],
    [
      "more groups than there are",
      (bytes) => void bytes.writeUInt32LE(0xffff_ffff, 1024 + SUPER_BLOCK.at.s_blocks_count_lo),
      /131072 groups are not in 8192 bytes/,
    ],
    ["a cut one", (bytes) => bytes.subarray(0, 4096 + 63), /2 groups are not in 4159/],
  ])("refuses %s", (_name, damage, message) => {
    const bytes = head(200 * MIB);
    const damaged = damage(bytes) ?? bytes;
    expect(() => dumpExt4(damaged)).toThrow(Ext4Error);
    expect(() => dumpExt4(damaged)).toThrow(message);
  });
});
