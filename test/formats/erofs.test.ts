import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { crc32c } from "../../src/formats/crc32c.ts";
import { dumpErofs } from "../../src/formats/erofs/dump.ts";
import {
  ErofsError,
  INODE,
  SUPER_BLOCK,
  decodeDevice,
  encodeDevice,
} from "../../src/formats/erofs/format.ts";
import { openErofs } from "../../src/formats/erofs/reader.ts";
import type { Erofs } from "../../src/formats/erofs/reader.ts";
import { mergeLayers, planMetadata } from "../../src/rootfs/metadata.ts";
import { buildLayers, device, dir, file, hardlink, symlink, whiteout } from "../support/layer-index.ts";
import { imageOf, openBytes } from "../support/erofs-image.ts";
import { SAMPLE, pattern } from "../support/sample-stack.ts";

const SMALL = buildLayers([
  [
    dir("", { mtime: [1_700_000_000, 1] }),
    file("hello", "Hello\n", { mtime: [-1, 500_000_000] }),
    file("big", pattern(5000, 1), { mode: 0o4755, uid: 1, gid: 2 }),
    file("empty"),
    file("gone", pattern(5000, 3)),
  ],
  [
    whiteout("gone"),
    dir("d"),
    hardlink("d/world", "hello"),
    symlink("d/l", "../big"),
    device("block", "d/sda\x07", 8, 0),
    file("d/cap", "c", {
      xattrs: [
        [6, "capability", Uint8Array.of(1, 2)],
        [1, "a", new Uint8Array(0)],
      ],
    }),
    file("d/sparse", "", {
      sparse: { sizeBytes: 10_000, chunkBits: 0, chunks: [null, pattern(4096, 2), null] },
    }),
  ],
]);

test("a small image as text", () => {
  expect(dumpErofs(openBytes(imageOf(SMALL)))).toMatchInlineSnapshot(`
    "magic 0xe0f5e1e2
    checksum 0x40a9d424
    feature_compat 0x00000003
    blkszbits 12
    sb_extslots 0
    root_nid 36
    inos 9
    build_time 0
    build_time_nsec 0
    blocks 6
    meta_blkaddr 0
    xattr_blkaddr 0
    uuid dea302163a758a7cae464ee3125eabcd
    volume_name 666c616d65626f780000000000000000
    feature_incompat 0x00000004
    available_compr_algs 0
    extra_devices 0
    devt_slotoff 0
    dirblkbits 0
    xattr_prefix_count 0
    xattr_prefix_start 0
    packed_nid 0
    xattr_filter_reserved 0
    /  040755 0:0 links 3 size 89 mtime 1700000000.000000001 nid 36 inline 89
    /big  104755 1:2 links 1 size 5000 mtime 0.000000000 nid 41 block 1 5000
    /d  040755 0:0 links 2 size 106 mtime 0.000000000 nid 43 inline 106
    /d/cap  100644 0:0 links 1 size 1 mtime 0.000000000 nid 54 inline 1
        user.a = 
        security.capability = 0102
    /d/l  120777 0:0 links 1 size 6 mtime 0.000000000 nid 58 -> ../big inline 6
    /d/sda\\x07  060600 0:0 links 1 size 0 mtime 0.000000000 nid 61 device 8:0
    /d/sparse  100644 0:0 links 1 size 10000 mtime 0.000000000 nid 63 hole 4096 block 5 4096 hole 1808
    /d/world  100644 0:0 links 2 size 6 mtime -1.500000000 nid 51 inline 6
    /empty  100644 0:0 links 1 size 0 mtime 0.000000000 nid 49
    /hello  is /d/world
    "
  `);
});

test("the bytes of a fixed image are pinned", () => {
  const digest = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");
  expect(digest(imageOf(SMALL))).toMatchInlineSnapshot(
    `"d53468b57e9f388dd26ac876fee854e552cb8adbee054ccb2e80a1317721bc42"`,
  );
  expect(digest(imageOf(buildLayers(SAMPLE)))).toMatchInlineSnapshot(
    `"4c5c21e7abf4a3993a7f8f1f66fa8c73635ebe5d64b6b016133d7c2ac9dba8cd"`,
  );
});

test("an image larger than the writer's window has the same bytes as in one piece", () => {
  const entries = Array.from({ length: 9000 }, (_, number) =>
    file(`d${number % 7}/f${number}`, pattern(1 + (number % 1024), number)),
  );
  const layers = buildLayers([entries]);
  const chunks = [...planMetadata(mergeLayers(layers)).chunks()].map((chunk) => chunk.length);
  expect(chunks.length).toBeGreaterThan(1);
  const erofs = openBytes(imageOf(layers));
  for (const number of [0, 1, 4000, 8999]) {
    const inode = erofs.lookup(`d${number % 7}/f${number}`);
    expect(Buffer.from(erofs.read(inode, 5000)).equals(pattern(1 + (number % 1024), number))).toBe(true);
  }
  expect([...erofs.entries(erofs.lookup("d3"))].length).toBe(1286);
});

test("an inode longer than the writer's window", () => {
  const chunks = Array<null>(1_500_000).fill(null);
  const sparse = { sizeBytes: 1_500_000 * 4096, chunkBits: 0, chunks };
  const erofs = openBytes(imageOf(buildLayers([[file("a", "", { sparse }), file("z", "last")]])));
  expect(Buffer.from(erofs.read(erofs.lookup("z"), 10)).toString()).toBe("last");
});

test("crc32c has the known value", () => {
  // The check value of CRC-32C, before its final inversion.
  expect(crc32c(Buffer.from("123456789"))).toBe(~0xe306_9283 >>> 0);
});

test.each([
  [0, 0],
  [1, 3],
  [8, 255],
  [259, 70_000],
  [4095, 1_048_575],
])("device %d:%d as the kernel packs it", (major, minor) => {
  expect(decodeDevice(encodeDevice(major, minor))).toEqual({ major, minor });
});

const everything = (erofs: Erofs): unknown => dumpErofs(erofs);
const inodeAt = (erofs: Erofs, path: string): number => erofs.lookup(path).nid * 32;

/** Name, how the image is damaged, what is said. Checksums are made right again. */
const DAMAGED: [string, (image: Buffer, erofs: Erofs) => Buffer | void, RegExp][] = [
  ["an empty file", () => Buffer.alloc(0), /0 bytes/],
  ["half a block", (image) => image.subarray(0, 2048), /2048 bytes/],
  ["another magic", (image) => void image.writeUInt32LE(1, 1024), /magic/],
  ["other blocks", (image) => void image.writeUInt8(9, 1024 + SUPER_BLOCK.at.blkszbits), /blocks of 2\^9/],
  [
    "features from the future",
    (image) => void image.writeUInt32LE(0x85, 1024 + SUPER_BLOCK.at.feature_incompat),
    /features/,
  ],
  [
    "a root behind the end",
    (image) => void image.writeUInt16LE(65_535, 1024 + SUPER_BLOCK.at.root_nid),
    /outside/,
  ],
  [
    "metadata behind the end",
    (image) => void image.writeUInt32LE(0xffff_ffff, 1024 + SUPER_BLOCK.at.meta_blkaddr),
    /outside/,
  ],
  ["a compact inode", (image, erofs) => void image.writeUInt16LE(0, inodeAt(erofs, "/")), /format/],
  ["an unknown layout", (image, erofs) => void image.writeUInt16LE(7, inodeAt(erofs, "/hello")), /layout 3/],
  [
    "a file of 2^60 bytes",
    (image, erofs) => void image.writeUInt32LE(1 << 28, inodeAt(erofs, "/hello") + 12),
    /too big/,
  ],
  [
    "a file of 2^40 bytes",
    (image, erofs) => void image.writeUInt32LE(256, inodeAt(erofs, "/big") + 12),
    /outside/,
  ],
  [
    "a file behind the end",
    (image, erofs) => void image.writeUInt32LE(4000, inodeAt(erofs, "/big") + 16),
    /outside/,
  ],
  [
    "a chunk behind the end",
    (image, erofs) => void image.writeUInt32LE(4000, inodeAt(erofs, "/d/sparse") + 68),
    /outside/,
  ],
  [
    "a chunk format from the future",
    (image, erofs) => void image.writeUInt32LE(0x20, inodeAt(erofs, "/d/sparse") + 16),
    /chunk format/,
  ],
  [
    "a tail across blocks",
    (image, erofs) => void image.writeUInt32LE(4090, inodeAt(erofs, "/hello") + 8),
    /crosses/,
  ],
  [
    "xattrs behind the end",
    (image, erofs) => void image.writeUInt16LE(0xffff, inodeAt(erofs, "/d/cap") + 2),
    /outside|damaged/,
  ],
  ["shared xattrs", (image, erofs) => void image.writeUInt8(1, inodeAt(erofs, "/d/cap") + 64 + 4), /shared/],
  [
    "an unknown xattr namespace",
    (image, erofs) => void image.writeUInt8(9, inodeAt(erofs, "/d/cap") + 64 + 13),
    /damaged/,
  ],
  [
    "a first name at 0",
    (image, erofs) => void image.writeUInt16LE(0, inodeAt(erofs, "/d") + 64 + 8),
    /directory .* damaged/,
  ],
  [
    "a first name behind the end",
    (image, erofs) => void image.writeUInt16LE(60_000, inodeAt(erofs, "/d") + 64 + 8),
    /directory .* damaged/,
  ],
  [
    "names that overlap",
    (image, erofs) => void image.writeUInt16LE(1, inodeAt(erofs, "/d") + 64 + 12 + 8),
    /directory .* damaged/,
  ],
  [
    "a directory with two names",
    (image, erofs) =>
      void image.writeBigUInt64LE(BigInt(erofs.lookup("/d").nid), inodeAt(erofs, "/d") + 64 + 24),
    /two names/,
  ],
  [
    "an entry that leads behind the end",
    (image, erofs) => void image.writeBigUInt64LE(2n ** 63n, inodeAt(erofs, "/d") + 64 + 24),
    /outside/,
  ],
];

test.each(DAMAGED)("the reader refuses %s", (_name, damage, message) => {
  const image = imageOf(SMALL);
  const bad = damage(image, openBytes(imageOf(SMALL))) ?? image;
  if (bad.length >= 4096) {
    bad.writeUInt32LE(0, 1024 + SUPER_BLOCK.at.checksum);
    bad.writeUInt32LE(crc32c(bad.subarray(1024, 4096)), 1024 + SUPER_BLOCK.at.checksum);
  }
  expect(() => everything(openBytes(bad))).toThrow(ErofsError);
  expect(() => everything(openBytes(bad))).toThrow(message);
});

test("a wrong checksum is found", () => {
  const image = imageOf(SMALL);
  image.writeUInt8(1, 4000);
  expect(() =>
    openErofs({ sizeBytes: image.length, read: (at, out) => void image.copy(out, 0, at) }),
  ).toThrow(/checksum/);
});

test("the structures have the sizes that Linux asserts", () => {
  expect([SUPER_BLOCK.sizeBytes, INODE.sizeBytes]).toEqual([128, 64]);
});
