/**
 * Images for tests of this folder: real layers made by GNU tar, handed out by a source that keeps count and
 * fails when it is told to.
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import type { Platform } from "../../src/oci/platform.ts";
import type { Digest } from "../../src/reference/digest.ts";
import type { ImageSource } from "../../src/source/source.ts";
import { makeImage } from "../support/oci-layout.ts";

export const amd64: Platform = { os: "linux", architecture: "amd64" };
export const arm64: Platform = { os: "linux", architecture: "arm64" };

/** A layer's tar archive of these files; contents of more than 1 KiB end up in the layer blob. */
export async function tarOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const dir = await mkdtemp(join(tmpdir(), "flamebox-tar-"));
  try {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(join(dir, dirname(name)), { recursive: true });
      await writeFile(join(dir, name), content);
    }
    const options = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=0755"];
    const args = ["-C", dir, "--no-recursion", ...options, "-cf", "-", ...Object.keys(files)];
    const { stdout } = await promisify(execFile)("tar", args, { encoding: "buffer", maxBuffer: 2 ** 26 });
    return stdout;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

export interface MemorySource extends ImageSource {
  /** Digests that were asked for, in order. */
  readonly opened: Digest[];
  readonly configDigest: Digest;
  readonly manifestDigest: Digest;
  readonly layers: readonly (Descriptor & { readonly diffId: Digest })[];
}

export interface MemorySourceOptions {
  readonly platform?: Platform;
  readonly config?: object;
  /** Called before each chunk of a blob; may throw or wait. */
  readonly beforeChunk?: (digest: Digest, offset: number) => Promise<void> | void;
}

const CHUNK_BYTES = 4096;

export function memorySource(tars: readonly Buffer[], options: MemorySourceOptions = {}): MemorySource {
  const { platform = amd64, config = {}, beforeChunk } = options;
  const image = makeImage({ platform: { ...amd64, ...platform } as never, layers: tars, config });
  const blobs = new Map<Digest, Uint8Array>(image.layers.map(({ digest, bytes }) => [digest, bytes]));
  blobs.set(image.config.digest, image.configBytes);
  const opened: Digest[] = [];
  return {
    name: "memory/image:1",
    opened,
    configDigest: image.config.digest,
    manifestDigest: image.manifest.digest,
    layers: image.layers,
    async resolve() {
      return {
        descriptor: image.manifest,
        manifestBytes: image.manifestBytes,
        referenceDigest: image.manifest.digest,
        async *openBlob(descriptor, { signal, onProgress, progressId = "", progressLabel = "" } = {}) {
          opened.push(descriptor.digest);
          const bytes = blobs.get(descriptor.digest) ?? Buffer.alloc(0);
          for (let offset = 0; offset < bytes.length; offset += CHUNK_BYTES) {
            await beforeChunk?.(descriptor.digest, offset);
            signal?.throwIfAborted();
            onProgress?.({ id: progressId, label: progressLabel, state: "running", current: offset });
            yield new Uint8Array(bytes.subarray(offset, offset + CHUNK_BYTES));
          }
        },
      };
    },
  };
}
