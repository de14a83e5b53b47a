/** Files in and out of a container that is here, and what it has changed. */
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Change } from "../contents.ts";
import {
  archiveFromContainer,
  archiveToContainer,
  copyFromContainer,
  copyToContainer,
} from "../copy/copy.ts";
import type { CopyOptions } from "../copy/copy.ts";
import { commitImage } from "../../images/commit.ts";
import { infoOf } from "../../images/images.ts";
import type { ImageInfo } from "../../images/images.ts";
import { parse } from "../../reference/reference.ts";
import { locatePaths } from "../../util/paths.ts";
import { openHome } from "../home.ts";
import type { OperationOptions } from "../options.ts";
import { withContents } from "./contents.ts";
import { noteEvent } from "./events.ts";
import type { Action } from "./events.ts";
import type { ContainerRecord } from "./record.ts";

export interface ContainerCopyOptions extends OperationOptions, CopyOptions {}

async function note(options: OperationOptions, action: Action, record: ContainerRecord): Promise<void> {
  await noteEvent(options.paths ?? locatePaths(), action, record);
}

/**
 * Copies a file or folder of a container's to this host, with the rules of `docker cp`.
 * @throws FlameBoxError `path-not-found`, `copy-refused`, `archive-refused`
 */
export async function copyFrom(
  name: string,
  from: string,
  to: string,
  options: ContainerCopyOptions = {},
): Promise<void> {
  await withContents(name, options, async (contents, record) => {
    await copyFromContainer(contents, from, to, options);
    await note(options, "copy", record);
  });
}

/** As `copyFrom`, the other way. @throws FlameBoxError `copy-source-failed`, `copy-refused`, `failed` */
export async function copyTo(
  name: string,
  from: string,
  to: string,
  options: ContainerCopyOptions = {},
): Promise<void> {
  await withContents(name, options, async (contents, record) => {
    await copyToContainer(contents, from, to, options);
    await note(options, "copy", record);
  });
}

/** A file or folder as a tar archive, to a stream that is left open. */
export async function archiveFrom(
  name: string,
  from: string,
  out: Writable,
  options: ContainerCopyOptions = {},
): Promise<void> {
  await withContents(name, options, async (contents) => {
    await archiveFromContainer(contents, from, out, options);
  });
}

/** Unpacks a tar archive into a directory of the container's. */
export async function archiveTo(
  name: string,
  archive: Readable,
  to: string,
  options: ContainerCopyOptions = {},
): Promise<void> {
  await withContents(name, options, async (contents) => {
    await archiveToContainer(contents, archive, to, options);
  });
}

/** All that a container sees of its root file system, as a tar archive, to a stream that is left open. */
export async function exportContainer(
  name: string,
  out: Writable,
  options: OperationOptions = {},
): Promise<void> {
  await withContents(name, options, async (contents, record) => {
    const { signal } = options;
    const { stream } = await contents.archive("/", { oneFileSystem: true, signal });
    await pipeline(stream, out, { end: false, ...(signal && { signal }) });
    await note(options, "export", record);
  });
}

export interface CommitContainerOptions extends OperationOptions {
  /** Dockerfile instructions: `CMD ["/bin/sh"]`, `ENV A=b`. */
  readonly changes?: readonly string[] | undefined;
  /** For the image's history. */
  readonly message?: string | undefined;
  readonly author?: string | undefined;
}

/**
 * Makes an image of a container's, with what it has changed as one more layer.
 * @param reference what it is to be called; undefined is an image without a name
 */
export async function commitContainer(
  name: string,
  reference: string | undefined,
  options: CommitContainerOptions = {},
): Promise<ImageInfo> {
  const target = reference === undefined ? undefined : parse(reference);
  return await withContents(name, options, async (contents, record) => {
    await using store = await openHome(options);
    const layer = await contents.layer({ signal: options.signal });
    try {
      const image = await commitImage(store, record.image, layer, target, {
        ...options,
        limits: options.imageLimits,
      });
      await note(options, "commit", record);
      return await infoOf(store, image);
    } finally {
      layer.destroy();
    }
  });
}

/** What a container has changed of its image's files, in the order of their paths. */
export async function containerChanges(name: string, options: OperationOptions = {}): Promise<Change[]> {
  return await withContents(name, options, async (contents) => {
    const changes: Change[] = [];
    for await (const change of contents.changes({ signal: options.signal })) changes.push(change);
    return changes;
  });
}
