import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, lstatSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Erofs, ErofsInode } from "../../src/formats/erofs/reader.ts";
import { isDirectory } from "../../src/formats/erofs/reader.ts";
import { flatten, rootfsDisk, vmdkDescriptor } from "../../src/rootfs/attach.ts";
import { buildMetadata, mergeLayers } from "../../src/rootfs/metadata.ts";
import { openRootfs, readRootfsFile } from "../../src/rootfs/read.ts";
import { buildLayers, file, symlink } from "../support/layer-index.ts";
import type { Entry } from "../support/layer-index.ts";
import { scratchDir, writeDisk } from "../support/rootfs-image.ts";
import { SAMPLE, pattern } from "../support/sample-stack.ts";

const STACKS: [string, Entry[][]][] = [
  ["no layers", []],
  ["one small file, no blob", [[file("f", "1")]]],
  ["one block", [[file("f", pattern(4096, 1))]]],
  [
    "a layer without a blob between two with one",
    [[file("a", pattern(5000, 1))], [file("b", "2")], [file("c", pattern(5000, 2))]],
  ],
  ["one of everything", SAMPLE],
];

test.each(STACKS)("fsck.erofs finds nothing wrong: %s", async (_name, stack) => {
  using scratch = scratchDir();
  const disk = await writeDisk(scratch.path, buildLayers(stack));
  const flat = join(scratch.path, "flat.erofs");
  await flatten(disk, flat);
  const { status, stdout, stderr } = spawnSync("fsck.erofs", ["-d3", flat], { encoding: "utf8" });
  expect({ status, said: stdout + stderr }).toEqual({
    status: 0,
    said: expect.stringContaining("No errors found"),
  });
});

const LIST_TREE = join(import.meta.dirname, "../support/list-tree.mjs");

/** mode, uid, gid, names, size, mtime in ns, device, content; see list-tree.mjs */
type Seen = readonly string[];

function linuxDevice({ major, minor }: ErofsInode["rdev"]): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

function imageEntries(erofs: Erofs): Record<string, Seen> {
  const found: Record<string, Seen> = {};
  const visit = (inode: ErofsInode, name: string): void => {
    const mtimeNs = BigInt(inode.mtimeSeconds) * 1_000_000_000n + BigInt(inode.mtimeNanoseconds);
    const small = !isDirectory(inode) && inode.sizeBytes < 1_000_000;
    const content = small ? Buffer.from(erofs.read(inode, 1_000_000)).toString("latin1") : "";
    const { mode, uid, gid, nlink, sizeBytes, rdev } = inode;
    const numbers = [mode, uid, gid, nlink, sizeBytes, mtimeNs, linuxDevice(rdev)];
    found[name] = [...numbers.map(String), content];
    if (!isDirectory(inode)) return;
    for (const entry of erofs.entries(inode)) visit(erofs.inode(entry.nid), `${name}/${entry.name}`);
  };
  visit(erofs.root, "");
  return found;
}

/** Mounts need root and a loop device; the mount namespace takes the mount along when it ends. */
const MOUNT = 'mount -t erofs -o loop,ro "$1" "$2" && exec "$3" "$4" "$2"';
const mountArgs = (script: string, ...args: string[]): string[] => ["-m", "sh", "-c", script, "sh", ...args];

test("the kernel mounts it, and sees what the reader sees", async (context) => {
  using scratch = scratchDir();
  const flat = join(scratch.path, "flat.erofs");
  const empty = join(scratch.path, "empty.erofs");
  await buildMetadata(mergeLayers([]), { path: empty });
  const probe = spawnSync("unshare", mountArgs('mount -t erofs -o loop,ro "$1" "$2"', empty, scratch.path));
  context.skip(
    probe.status !== 0,
    "skipped: cannot mount erofs here (needs root, loop devices and the module)",
  );
  const disk = await writeDisk(scratch.path, buildLayers(SAMPLE));
  await flatten(disk, flat);
  const args = mountArgs(MOUNT, flat, scratch.path, process.execPath, LIST_TREE);
  const seen = JSON.parse(execFileSync("unshare", args, { encoding: "utf8", maxBuffer: 1e8 })) as unknown;
  using rootfs = openRootfs(disk);
  expect(seen).toEqual(imageEntries(rootfs.erofs));
});

/**
 * fsck.erofs 1.5 leaves holes out when it extracts, makes separate files of hard links, drops set-id bits,
 * makes directories with sizes of the host, and needs root for owners and devices: the rest is compared.
 */
const EXTRACTED = SAMPLE.map((layer) => layer.filter(({ sparse }) => sparse === undefined));
const comparable = (entries: Record<string, Seen>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(entries).map(([name, [mode, , , , , mtimeNs, , content]]) => {
      return [name, { mode: Number(mode) & 0o171777, mtimeNs, content }];
    }),
  );

test("fsck.erofs extracts the tree that the reader reads", async () => {
  using scratch = scratchDir();
  const disk = await writeDisk(scratch.path, buildLayers(EXTRACTED));
  const flat = join(scratch.path, "flat.erofs");
  const out = join(scratch.path, "out");
  await flatten(disk, flat);
  execFileSync("fsck.erofs", [`--extract=${out}`, flat], { stdio: "ignore" });
  using rootfs = openRootfs(disk);
  const expected = imageEntries(rootfs.erofs);
  expect(Object.keys(expected).length).toBeGreaterThan(700);
  const got = JSON.parse(
    execFileSync(process.execPath, [LIST_TREE, out], { encoding: "utf8", maxBuffer: 1e8 }),
  );
  expect(comparable(got as Record<string, Seen>)).toEqual(comparable(expected));
});

test("the reader reads what the layers had, holes as zeros", async () => {
  using scratch = scratchDir();
  const disk = await writeDisk(scratch.path, buildLayers(SAMPLE));
  const sparse = new Uint8Array(100_001);
  sparse.set(pattern(16_384, 9), 16_384);
  sparse.set(pattern(1697, 10), 98_304);
  const read = (path: string): Buffer => Buffer.from(readRootfsFile(disk, path, { maxBytes: 200_000 }));
  expect(read("odd/sparse").equals(sparse)).toBe(true);
  expect(read("bin/su2").equals(pattern(70_000, 1))).toBe(true);
  expect(read("sizes/1024").equals(pattern(1024, 1024))).toBe(true);
  expect(read("sizes/1025").equals(pattern(1025, 1025))).toBe(true);
  using rootfs = openRootfs(disk);
  const { erofs } = rootfs;
  expect(erofs.xattrs(erofs.lookup("odd/big-xattr"))).toEqual([["user.huge", pattern(20_000, 8)]]);
  expect(erofs.lookup("odd/hole").sizeBytes).toBe(5_000_000_000);
  expect(erofs.lookup("dev/odd").rdev).toEqual({ major: 259, minor: 70_000 });
});

test("QEMU reads the descriptor as the flattened file, byte for byte", async () => {
  using scratch = scratchDir();
  const disk = await writeDisk(scratch.path, buildLayers(SAMPLE));
  const flat = join(scratch.path, "flat.erofs");
  await flatten(disk, flat);
  expect(lstatSync(flat).size).toBe(disk.sizeBytes);
  const bytes = Buffer.concat(disk.segments.map(({ path }) => readFileSync(path)));
  expect(readFileSync(flat).equals(bytes)).toBe(true);
  for (const baseDir of [undefined, scratch.path]) {
    const vmdk = join(scratch.path, "disk.vmdk");
    const raw = join(scratch.path, "disk.raw");
    writeFileSync(vmdk, vmdkDescriptor(disk, { baseDir }));
    execFileSync("qemu-img", ["convert", "-f", "vmdk", "-O", "raw", vmdk, raw]);
    expect(readFileSync(raw).equals(bytes)).toBe(true);
  }
});

test("QEMU opens segments whose names look like protocols", async () => {
  using scratch = scratchDir();
  writeFileSync(join(scratch.path, "nbd:x y"), pattern(4096, 1));
  const disk = rootfsDisk({ path: join(scratch.path, "nbd:x y"), metadataBlocks: 1 }, []);
  const vmdk = join(scratch.path, "disk.vmdk");
  writeFileSync(vmdk, vmdkDescriptor(disk, { baseDir: scratch.path }));
  execFileSync("qemu-img", ["convert", "-f", "vmdk", "-O", "raw", vmdk, join(scratch.path, "raw")]);
  expect(readFileSync(join(scratch.path, "raw")).equals(pattern(4096, 1))).toBe(true);
});

test("the descriptor splits long segments", () => {
  const disk = rootfsDisk({ path: "/r/m", metadataBlocks: 1 }, [
    { path: "/b/none", blobBlocks: 0 },
    { path: "/b/x y", blobBlocks: 2 * 524_288 + 3 },
  ]);
  expect(disk.sizeBytes).toBe(4096 * (1 + 2 * 524_288 + 3));
  expect(vmdkDescriptor(disk, { baseDir: "/r" })).toMatchInlineSnapshot(`
    "# Disk DescriptorFile
    version=1
    CID=fffffffe
    parentCID=ffffffff
    createType="twoGbMaxExtentFlat"
    # Extents
    RW 8 FLAT "./m" 0
    RW 4194304 FLAT "../b/x y" 0
    RW 4194304 FLAT "../b/x y" 4194304
    RW 24 FLAT "../b/x y" 8388608

    ddb.virtualHWVersion = "4"
    ddb.geometry.cylinders = "8323"
    ddb.geometry.heads = "16"
    ddb.geometry.sectors = "63"
    ddb.adapterType = "ide"
    "
  `);
});

test.each([
  ["a quote", 'a"b'],
  ["a newline", 'a\nRW 1 FLAT "x" 0'],
  ["a NUL", "a\0"],
  ["nothing", ""],
  ["501 bytes", `/${"a".repeat(500)}`],
])("a path with %s is refused", (_name, path) => {
  const disk = rootfsDisk({ path, metadataBlocks: 1 }, []);
  expect(() => vmdkDescriptor(disk)).toThrow(expect.objectContaining({ code: "invalid-disk" }));
});

test("sizes that are no block counts are refused", () => {
  expect(() => rootfsDisk({ path: "m", metadataBlocks: 1.0001 }, [])).toThrow(/bytes/);
  expect(() => vmdkDescriptor({ segments: [{ path: "m", sizeBytes: 512 }], sizeBytes: 512 })).toThrow(
    /multiple/,
  );
});

test("flatten refuses a segment that became shorter, and leaves nothing", async () => {
  using scratch = scratchDir();
  const disk = await writeDisk(scratch.path, buildLayers(SAMPLE));
  truncateSync(join(scratch.path, "blob2"), 4096);
  const flat = join(scratch.path, "flat");
  await expect(flatten(disk, flat)).rejects.toMatchObject({ code: "invalid-disk" });
  expect(existsSync(flat)).toBe(false);
});

test("flatten stops when asked to, and leaves nothing", async () => {
  using scratch = scratchDir();
  const disk = await writeDisk(scratch.path, buildLayers(SAMPLE));
  const flat = join(scratch.path, "flat");
  const stop = new AbortController();
  const failed = flatten(disk, flat, { signal: stop.signal, onProgress: () => stop.abort() });
  await expect(failed).rejects.toThrow(/abort/);
  expect(existsSync(flat)).toBe(false);
});

test("flatten does not touch a file that is there", async () => {
  using scratch = scratchDir();
  const disk = await writeDisk(scratch.path, buildLayers([[file("f", "1")]]));
  const flat = join(scratch.path, "flat");
  writeFileSync(flat, "mine");
  await expect(flatten(disk, flat)).rejects.toMatchObject({ code: "EEXIST" });
  expect(readFileSync(flat, "utf8")).toBe("mine");
});

test("flatten keeps zeros as holes, and reports its way", async () => {
  using scratch = scratchDir();
  const disk = await writeDisk(
    scratch.path,
    buildLayers([[file("f", new Uint8Array(8_000_000)), file("g", pattern(5000, 1))]]),
  );
  const flat = join(scratch.path, "flat");
  const events: string[] = [];
  await flatten(disk, flat, { onProgress: ({ state, current }) => events.push(`${state} ${current}`) });
  expect(events.at(-1)).toBe(`done ${disk.sizeBytes}`);
  expect(lstatSync(flat).blocks * 512).toBeLessThan(1_000_000);
  const tail = readFileSync(flat).subarray(disk.sizeBytes - 8192);
  expect(tail.subarray(0, 5000).equals(pattern(5000, 1))).toBe(true);
});

test("a file of the rootfs is read on the host, symlinks followed inside", async () => {
  using scratch = scratchDir();
  const stack = [
    [
      file("etc/größe", "in"),
      symlink("a", "/../../etc"),
      symlink("l", "a/gr\xc3\xb6\xc3\x9fe"),
      symlink("o", "o"),
    ],
  ];
  const latin1 = stack.map((layer) =>
    layer.map((entry) => ({ ...entry, name: Buffer.from(entry.name).toString("latin1") })),
  );
  const disk = await writeDisk(scratch.path, buildLayers(latin1));
  const read = (path: string, maxBytes = 10): string =>
    Buffer.from(readRootfsFile(disk, path, { maxBytes })).toString();
  expect(read("/etc/größe")).toBe("in");
  expect(read("l")).toBe("in");
  const missing = expect.objectContaining({ code: "not-in-rootfs" });
  expect(() => read("/etc/none")).toThrow(missing);
  expect(() => read("/etc")).toThrow(missing);
  expect(() => read("/l/x")).toThrow(missing);
  expect(() => read("/o")).toThrow(missing);
  expect(() => read("/l", 1)).toThrow(missing);
});
