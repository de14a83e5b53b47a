/**
 * Where images come from. A source finds one image and hands out its parts; it stores nothing and converts
 * nothing. Sources are sibling folders (`registry/`, later `layout/`, `archive/`) that return this interface.
 */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Platform } from "../oci/platform.ts";
import type { OnProgress } from "../util/progress.ts";

export interface ImageSource {
  /** What to call the source in messages: `docker.io/library/alpine:latest`. */
  readonly name: string;
  /**
   * Finds the manifest for `platform`, following one level of index.
   * @throws FlameBoxError `image-not-found`, `platform-not-found`, `unauthorized`, `registry-unreachable`, …
   */
  resolve(options: ResolveOptions): Promise<ResolvedImage>;
}

export interface ResolveOptions {
  readonly platform: Platform;
  readonly signal?: AbortSignal | undefined;
}

export interface ResolvedImage {
  /** Descriptor of the image manifest that was chosen, digest verified against `manifestBytes`. */
  readonly descriptor: Descriptor;
  readonly manifestBytes: Uint8Array;
  /** Digest that the reference named or the tag pointed at: the index's where there is one. What RepoDigests shows. */
  readonly referenceDigest: Descriptor["digest"];
  /**
   * The bytes of a blob of this image (config or layer), from its start. Size and digest are verified while
   * streaming; a mismatch throws before the last chunk is handed out. Broken connections are resumed inside.
   * The chunks belong to the caller, who may free their memory.
   */
  openBlob(descriptor: Descriptor, options?: BlobOptions): AsyncIterable<Uint8Array>;
}

export interface BlobOptions {
  readonly signal?: AbortSignal | undefined;
  /** Events with `id`/`label` of the caller's; `current`/`total` in bytes of the compressed blob. */
  readonly onProgress?: OnProgress | undefined;
  readonly progressId?: string | undefined;
  readonly progressLabel?: string | undefined;
}
