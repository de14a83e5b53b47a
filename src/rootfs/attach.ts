/**
 * A root file system as one disk: the metadata image, and behind it the blobs of its layers, each in a file
 * of its own, shared with other images.
 *
 *     rootfs metadata │ blob of layer 0 │ blob of layer 1 │ …        layers without a blob have no segment
 *
 * QEMU joins the files without a copy, told by a VMDK descriptor of flat extents. VMMs that know only raw
 * files get the same bytes end to end in one file.
 */
import { open, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { isAbsolute, relative } from "node:path";
import { silent } from "../util/progress.ts";
import type { OnProgress } from "../util/progress.ts";
import { BLOCK_SIZE } from "./layer-index.ts";
import { RootfsError } from "./rootfs-error.ts";
import { writeNonZero } from "./sparse-file.ts";

export interface DiskSegment {
  readonly path: string;
  /** A multiple of 4 KiB. */
  readonly sizeBytes: number;
}

export interface RootfsDisk {
  readonly segments: readonly DiskSegment[];
  readonly sizeBytes: number;
}

/** @throws RootfsError `invalid-disk` */
export function rootfsDisk(
  metadata: { readonly path: string; readonly metadataBlocks: number },
  blobs: readonly { readonly path: string; readonly blobBlocks: number }[],
): RootfsDisk {
  const parts = [{ path: metadata.path, blocks: metadata.metadataBlocks }].concat(
    blobs.map(({ path, blobBlocks }) => ({ path, blocks: blobBlocks })),
  );
  const segments = parts
    .filter(({ blocks }) => blocks > 0)
    .map(({ path, blocks }) => ({ path, sizeBytes: blocks * BLOCK_SIZE }));
  for (const { path, sizeBytes } of segments) {
    if (!Number.isSafeInteger(sizeBytes))
      throw new RootfsError("invalid-disk", `${sizeBytes} bytes of ${path}`);
  }
  return { segments, sizeBytes: segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) };
}

const SECTOR_BYTES = 512;
/** An extent line of this disk type describes at most 2 GiB; longer segments get several lines. */
const MAX_EXTENT_SECTORS = 4_194_304;
const MAX_EXTENT_NAME_BYTES = 500;
const HEADS = 16;
const SECTORS_PER_TRACK = 63;

/**
 * A VMDK descriptor of the segments. A path is taken relative to the descriptor's directory by QEMU;
 * `baseDir` is that directory, and makes the paths relative to it. Without it they stay as they are.
 * @throws RootfsError `invalid-disk` for a path that the format cannot hold: it knows no escapes
 */
export function vmdkDescriptor(
  disk: RootfsDisk,
  options: { readonly baseDir?: string | undefined } = {},
): string {
  const extents: string[] = [];
  for (const { path, sizeBytes } of disk.segments) {
    const name = extentName(path, options.baseDir);
    if (sizeBytes % BLOCK_SIZE !== 0 || sizeBytes <= 0) {
      throw new RootfsError("invalid-disk", `${name} has ${sizeBytes} bytes, no multiple of ${BLOCK_SIZE}`);
    }
    const sectors = sizeBytes / SECTOR_BYTES;
    for (let first = 0; first < sectors; first += MAX_EXTENT_SECTORS) {
      extents.push(`RW ${Math.min(sectors - first, MAX_EXTENT_SECTORS)} FLAT "${name}" ${first}`);
    }
  }
  // No empty line before the extents: QEMU would skip it, and take the first extent twice.
  const cylinders = Math.ceil(disk.sizeBytes / SECTOR_BYTES / HEADS / SECTORS_PER_TRACK);
  return `# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="twoGbMaxExtentFlat"
# Extents
${extents.join("\n")}

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "${cylinders}"
ddb.geometry.heads = "${HEADS}"
ddb.geometry.sectors = "${SECTORS_PER_TRACK}"
ddb.adapterType = "ide"
`;
}

/**
 * The name in an extent line. There are no escapes, QEMU reads 511 bytes of it, and takes a relative name with
 * a colon before its first slash for a protocol (`nbd:…`), which a leading `./` prevents.
 */
function extentName(path: string, baseDir: string | undefined): string {
  const name = baseDir === undefined ? path : relative(baseDir, path);
  if (name === "" || /["\p{Cc}]/u.test(name) || Buffer.byteLength(name) > MAX_EXTENT_NAME_BYTES) {
    throw new RootfsError("invalid-disk", `a VMDK descriptor cannot hold the path ${JSON.stringify(name)}`, {
      hint: "choose a data directory with a shorter path, without quotes and control characters",
    });
  }
  return isAbsolute(name) || name.startsWith("../") ? name : `./${name}`;
}

const COPY_BYTES = 4 * 1024 * 1024;

export interface FlattenOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * Lays the disk end to end into `outPath`, which must not exist. Runs of zeros become
 * holes. Synced; nothing is left behind when it fails.
 * @throws RootfsError `invalid-disk` when a segment's file has another size; system errors
 */
export async function flatten(
  disk: RootfsDisk,
  outPath: string,
  options: FlattenOptions = {},
): Promise<void> {
  const { signal, onProgress = silent } = options;
  for (const { path, sizeBytes } of disk.segments) {
    signal?.throwIfAborted();
    const found = (await stat(path)).size;
    if (found !== sizeBytes) {
      throw new RootfsError("invalid-disk", `${path} has ${found} bytes, not ${sizeBytes}`, {
        hint: "the converted layer is damaged; remove the image and pull it again",
      });
    }
  }
  const id = `flatten:${outPath}`;
  const report = (current: number, state: "running" | "done" | "failed"): void =>
    onProgress({ id, label: "root file system", state, current, total: disk.sizeBytes, unit: "bytes" });
  const out = await open(outPath, "wx", 0o666);
  try {
    try {
      let position = 0;
      for (const segment of disk.segments) {
        await copySegment(segment, out, position, { signal, report: (done) => report(done, "running") });
        position += segment.sizeBytes;
      }
      // Trailing zeros were skipped.
      await out.truncate(disk.sizeBytes);
      await out.sync();
    } finally {
      await out.close();
    }
  } catch (error) {
    report(0, "failed");
    await rm(outPath, { force: true });
    throw error;
  }
  report(disk.sizeBytes, "done");
}

interface CopyOptions {
  readonly signal: AbortSignal | undefined;
  readonly report: (doneBytes: number) => void;
}

async function copySegment(
  { path, sizeBytes }: DiskSegment,
  out: FileHandle,
  position: number,
  { signal, report }: CopyOptions,
): Promise<void> {
  const from = await open(path, "r");
  try {
    const buffer = Buffer.alloc(Math.min(COPY_BYTES, sizeBytes));
    for (let done = 0; done < sizeBytes; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await from.read(buffer, 0, Math.min(buffer.length, sizeBytes - done), done);
      if (bytesRead === 0) throw new RootfsError("invalid-disk", `${path} became shorter while it was read`);
      await writeNonZero(out, buffer.subarray(0, bytesRead), position + done);
      done += bytesRead;
      report(position + done);
    }
  } finally {
    await from.close();
  }
}
