/**
 * What became of an image: pulled into a store of its own, its tree read back, and everything around it looked at.
 *
 *     image ─► pullImage ─► rootfs ─► lines of the tree     or the error's code, and then nothing of it in the store
 *        └──► umoci unpack (where it is root) ─► lines      the oracle
 */
import { execFile } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { pullImage } from "../../../src/images/pull.ts";
import { openRootfs } from "../../../src/images/rootfs.ts";
import { parse } from "../../../src/reference/reference.ts";
import type { Digest } from "../../../src/reference/digest.ts";
import { convertLayer } from "../../../src/rootfs/convert.ts";
import type { ConvertLimits } from "../../../src/rootfs/convert.ts";
import { decodeLayerIndex } from "../../../src/rootfs/layer-index-file.ts";
import { openRootfs as readRootfs } from "../../../src/rootfs/read.ts";
import type { ImageSource } from "../../../src/source/source.ts";
import { checkStore } from "../../../src/store/check.ts";
import { layerPaths } from "../../../src/store/layout.ts";
import { readRecords } from "../../../src/store/records.ts";
import { openStore } from "../../../src/store/store.ts";
import type { Store } from "../../../src/store/store.ts";
import { FlameBoxError } from "../../../src/util/error.ts";
import { canary, gzipped, place, sha256 } from "./row.ts";
import type { Blob } from "./row.ts";
import { treeOfDirectory, treeOfRootfs, xattrsOfRootfs } from "./tree.ts";

export const isRoot = process.getuid?.() === 0;

/** More than any row needs: what goes beyond is the harm that its image wanted to do. */
export interface Caps {
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly timeMs: number;
}
export const CAPS: Caps = { memoryBytes: 96 * 2 ** 20, diskBytes: 4 * 2 ** 20, timeMs: 10_000 };

export type Verdict =
  | { readonly code: string; readonly message: string }
  /** `xattrs` where anything has some. */
  | { readonly tree: readonly string[]; readonly xattrs?: readonly string[] };

const platform = { os: "linux", architecture: "amd64" };
export const REFERENCE = "hostile.test/image:1";

export interface Documents {
  readonly manifest: Buffer;
  readonly config: Buffer;
}

export function documentsOf(blobs: readonly Blob[], config: object = {}): Documents {
  const rootfs = { type: "layers", diff_ids: blobs.map(({ diffId }) => diffId) };
  const configBytes = Buffer.from(JSON.stringify({ ...platform, config, rootfs }));
  const layers = blobs.map(({ mediaType, bytes }) => ({
    mediaType,
    digest: sha256(bytes),
    size: bytes.length,
  }));
  const mediaType = "application/vnd.oci.image.config.v1+json";
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { mediaType, digest: sha256(configBytes), size: configBytes.length },
    layers,
  };
  return { manifest: Buffer.from(JSON.stringify(manifest)), config: configBytes };
}

const CHUNK_BYTES = 50_000;

/** A source that delivers these bytes, and believes in them: whatever is wrong is for the reader to find. */
export function sourceOf(blobs: readonly Blob[], config?: object): ImageSource {
  const { manifest, config: configBytes } = documentsOf(blobs, config);
  const contents = new Map<string, Uint8Array>(blobs.map(({ bytes }) => [sha256(bytes), bytes]));
  contents.set(sha256(configBytes), configBytes);
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const descriptor = { mediaType, digest: sha256(manifest) as Digest, size: manifest.length };
  return {
    name: REFERENCE,
    resolve: async () => ({
      descriptor,
      manifestBytes: manifest,
      referenceDigest: descriptor.digest,
      async *openBlob({ digest }) {
        const bytes = contents.get(digest) ?? new Uint8Array(0);
        for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
          yield new Uint8Array(bytes.subarray(at, at + CHUNK_BYTES));
        }
      },
    }),
  };
}

function diskBytesOf(dir: string): number {
  let sizeBytes = 0;
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    // Gone between the list and the look, or never more than a name.
    const stat = lstatSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false });
    if (stat?.isFile() === true) sizeBytes += stat.blocks * 512;
  }
  return sizeBytes;
}

const SAMPLE_MS = 5;

/** The most that a directory has held, looked at by the clock and whenever it is asked to. */
class DiskWatch implements Disposable {
  readonly #dir: string;
  readonly #timer: NodeJS.Timeout;
  mostBytes = 0;

  constructor(dir: string) {
    this.#dir = dir;
    this.#timer = setInterval(() => this.look(), SAMPLE_MS);
  }

  look(): void {
    this.mostBytes = Math.max(this.mostBytes, existsSync(this.#dir) ? diskBytesOf(this.#dir) : 0);
  }

  /** At each chunk that a layer delivers: a converter that never pauses leaves the clock no time. */
  async *over(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.look();
      yield chunk;
    }
    this.look();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** The canary, and everything beside it: name, kind, size, inode, times and content. */
function surroundings(): string[] {
  return readdirSync(place, { recursive: true, withFileTypes: true })
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => !path.startsWith(join(place, "data")))
    .sort()
    .map((path) => {
      const stat = lstatSync(path, { bigint: true });
      const content = stat.isFile() ? readFileSync(path, "latin1") : "";
      return `${path} ${stat.mode} ${stat.ino} ${stat.nlink} ${stat.mtimeNs} ${stat.ctimeNs} ${content}`;
    });
}

export function makeCanary(): void {
  mkdirSync(join(canary, "inside"), { recursive: true });
  writeFileSync(join(canary, "file"), "sings");
  writeFileSync(join(canary, "inside", "file"), "sings too");
}

/** proc_pid_clear_refs(5): 5 sets the peak back to what is resident now. */
function resetPeak(): void {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // Kernels without it keep the peak of all rows: then only what goes beyond that is seen.
  }
}

/** Of what was resident since `resetPeak`. */
function peakBytes(): number {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
  return kib === undefined ? process.resourceUsage().maxRSS * 1024 : Number(kib) * 1024;
}

async function treeFrom(store: Store): Promise<Extract<Verdict, { tree: unknown }>> {
  const { images } = await readRecords(store);
  const [image] = images;
  if (image === undefined) throw new Error("the pull left no record");
  await using opened = await openRootfs(store, image);
  using rootfs = readRootfs(opened.disk);
  const xattrs = xattrsOfRootfs(rootfs.erofs);
  return { tree: treeOfRootfs(rootfs.erofs), ...(xattrs.length === 0 ? {} : { xattrs }) };
}

/** Sound, with nothing half-made in it; and after a failure, with nothing that calls itself whole and is not. */
async function expectSound(store: Store, failed: boolean, blobs: readonly Blob[]): Promise<void> {
  expect(await checkStore(store, { inspectIndex: decodeLayerIndex })).toEqual([]);
  for (const dir of [store.workspace, store.layout.leasesDir, store.layout.locksDir]) {
    expect(readdirSync(dir)).toEqual([]);
  }
  if (!failed) return;
  expect((await readRecords(store)).images).toEqual([]);
  expect(readdirSync(store.layout.rootfsDir)).toEqual([]);
  // A layer that is there under a diff ID is what the diff ID says.
  for (const { diffId, bytes } of blobs) {
    if (!diffId.startsWith("sha256:")) continue;
    const { indexPath } = layerPaths(store.layout, diffId as Digest);
    if (existsSync(indexPath)) expect(await inflatedDigest(bytes)).toBe(diffId);
  }
}

async function inflatedDigest(bytes: Uint8Array): Promise<string> {
  const { detectCompression, decompress } = await import("../../../src/formats/compression/decompress.ts");
  const chunks: Uint8Array[] = [];
  const input = (async function* () {
    yield bytes;
  })();
  for await (const chunk of decompress(input, detectCompression(bytes))) chunks.push(chunk);
  return sha256(Buffer.concat(chunks));
}

export interface JudgeOptions {
  readonly config?: object | undefined;
  readonly limits?: Partial<ConvertLimits> | undefined;
  readonly caps?: Partial<Caps> | undefined;
  /** Another source than the blobs themselves. */
  readonly source?: ImageSource | undefined;
}

/** Pulls the image, and fails the test when anything but the image's own tree or error comes of it. */
export async function judge(blobs: readonly Blob[], options: JudgeOptions = {}): Promise<Verdict> {
  const { config, limits, source = sourceOf(blobs, config) } = options;
  const caps = { ...CAPS, ...options.caps };
  const dataDir = join(place, "data");
  const before = surroundings();
  resetPeak();
  const peakBefore = peakBytes();
  const startedCpu = process.cpuUsage();
  try {
    await using store = await openStore({ dataDir });
    using disk = new DiskWatch(dataDir);
    let verdict: Verdict;
    try {
      await pullImage(store, parse(REFERENCE), source, {
        platform,
        convert: (compressed, compression, target, more) =>
          convertLayer(disk.over(compressed), compression, target, { ...more, limits }),
      });
      verdict = await treeFrom(store);
    } catch (error) {
      // Anything else is a fault of ours, not of the image.
      if (!(error instanceof FlameBoxError)) throw error;
      verdict = { code: error.code, message: error.message };
    }
    // The processor's, which others on this machine do not lengthen.
    const { user, system } = process.cpuUsage(startedCpu);
    expect((user + system) / 1000, "time").toBeLessThan(caps.timeMs);
    expect(peakBytes() - peakBefore, "memory").toBeLessThan(caps.memoryBytes);
    disk.look();
    expect(disk.mostBytes, "disk").toBeLessThan(caps.diskBytes);
    expect(surroundings(), "the canary").toEqual(before);
    // What an overlay file system would obey is never in a tree.
    const obeyed =
      "tree" in verdict ? verdict.xattrs?.filter((line) => line.includes(" trusted.overlay")) : [];
    expect(obeyed ?? [], "attributes of overlayfs").toEqual([]);
    // oxlint-disable-next-line no-control-regex -- that is what must not be in it
    if ("message" in verdict) expect(verdict.message).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
    await expectSound(store, "code" in verdict, blobs);
    return verdict;
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** What `umoci unpack` makes of the layers, or undefined where it refuses them. Root only: for owners and devices. */
export async function oracle(tars: readonly Uint8Array[]): Promise<readonly string[] | undefined> {
  const work = join(place, "data");
  const layout = join(work, "oci");
  const blobs = tars.map(gzipped);
  const { manifest, config } = documentsOf(blobs);
  try {
    mkdirSync(join(layout, "blobs", "sha256"), { recursive: true });
    for (const bytes of [manifest, config, ...blobs.map(({ bytes }) => bytes)]) {
      writeFileSync(join(layout, "blobs", "sha256", sha256(bytes).slice(7)), bytes);
    }
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const annotations = { "org.opencontainers.image.ref.name": "t" };
    const manifests = [{ mediaType, digest: sha256(manifest), size: manifest.length, annotations }];
    writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
    writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    try {
      await promisify(execFile)("umoci", ["unpack", "--image", `${layout}:t`, join(work, "bundle")]);
    } catch {
      return undefined;
    }
    return treeOfDirectory(join(work, "bundle", "rootfs"));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
