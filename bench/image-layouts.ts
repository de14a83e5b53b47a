/** The images of the image benchmark: the six layers as they are, in zstd, and with a seventh on top. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { link, mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { repository } from "../test/support/images/layouts.ts";

const run = promisify(execFile);

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface Manifest {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export function blobPath(dir: string, digest: string): string {
  return join(dir, "blobs", ...digest.split(":"));
}

async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, "utf8")) as T;
}

/** The manifest of a layout's only image, or of the one with a tag. */
export async function manifestOf(dir: string, tag?: string): Promise<Manifest> {
  const { manifests } = await readJson<{
    manifests: (Descriptor & { annotations?: Record<string, string> })[];
  }>(join(dir, "index.json"));
  const named = manifests.find(
    ({ annotations }) => tag === undefined || annotations?.["org.opencontainers.image.ref.name"] === tag,
  );
  if (named === undefined) throw new Error(`${dir} has no image ${tag ?? ""}`);
  return await readJson<Manifest>(blobPath(dir, named.digest));
}

/** Makes a layout in the cache, under a name that says what it was made of. */
async function cached(name: string, from: string, make: (dir: string) => Promise<void>): Promise<string> {
  const key = createHash("sha256")
    .update(await readFile(join(from, "index.json")))
    .digest("hex")
    .slice(0, 12);
  const dir = join(repository, ".cache", "images", `${basename(from)}-${name}-${key}`);
  if (existsSync(dir)) return dir;
  const work = `${dir}.${process.pid}.tmp`;
  try {
    await mkdir(join(work, "blobs", "sha256"), { recursive: true });
    await make(work);
    await rename(work, dir);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return dir;
}

async function addBlob(dir: string, path: string, mediaType: string): Promise<Descriptor> {
  const { stdout } = await run("sha256sum", [path]);
  const digest = `sha256:${stdout.slice(0, 64)}`;
  await rename(path, blobPath(dir, digest));
  return { mediaType, digest, size: (await stat(blobPath(dir, digest))).size };
}

/** The same image with its layers compressed by zstd, level 3, as most builders do. */
export async function zstdLayout(from: string): Promise<string> {
  return await cached("zstd", from, async (dir) => {
    const { config, layers } = await manifestOf(from);
    await link(blobPath(from, config.digest), blobPath(dir, config.digest));
    const packed: Descriptor[] = [];
    for (const { digest } of layers) {
      const path = join(dir, "layer");
      await run("sh", ["-c", 'gzip -dc "$1" | zstd -q -3 -o "$2"', "sh", blobPath(from, digest), path]);
      packed.push(await addBlob(dir, path, "application/vnd.oci.image.layer.v1.tar+zstd"));
    }
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const path = join(dir, "manifest");
    await writeFile(path, JSON.stringify({ schemaVersion: 2, mediaType, config, layers: packed }));
    const manifest = await addBlob(dir, path, mediaType);
    const named = { ...manifest, annotations: { "org.opencontainers.image.ref.name": "1" } };
    await writeFile(join(dir, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [named] }));
    await writeFile(join(dir, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  });
}

/** The same image with one more layer, of as many bytes as an application may have: tag "2". */
export async function updatedLayout(from: string): Promise<string> {
  return await cached("update", from, async (dir) => {
    await rm(dir, { recursive: true });
    await run("cp", ["-al", from, dir]);
    // umoci rewrites it, and must not reach the other layout through the link.
    const index = await readFile(join(dir, "index.json"));
    await rm(join(dir, "index.json"));
    await writeFile(join(dir, "index.json"), index);
    const application = join(repository, "node_modules", "typescript");
    const layer = `${dir}.tar`;
    try {
      await run("tar", [
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "-cf",
        layer,
        "-C",
        application,
        ".",
      ]);
      await run("umoci", ["raw", "add-layer", "--image", `${dir}:1`, "--tag", "2", layer]);
    } finally {
      await rm(layer, { force: true });
    }
  });
}
