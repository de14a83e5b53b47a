/** From a location, or a stream, to the images in it. */
import type { Location } from "./location.ts";
import { openArchive } from "./archive/archive.ts";
import type { ArchiveInput, ArchiveOptions } from "./archive/archive.ts";
import { openDockerArchive } from "./archive/docker-archive.ts";
import type { ImageFiles } from "./files.ts";
import { directoryFiles } from "./layout/directory.ts";
import { openLayout } from "./layout/layout.ts";
import { isSkopeoDir, openSkopeoDir } from "./layout/skopeo-dir.ts";
import { invalidArchive } from "./local.ts";
import type { LocalImages } from "./local.ts";
import type { TreeOptions } from "./tree/tree-image.ts";

/** The files are closed when what was made of them cannot be. */
async function over(
  files: ImageFiles,
  make: (files: ImageFiles, signal?: AbortSignal) => Promise<LocalImages>,
  signal?: AbortSignal,
): Promise<LocalImages> {
  try {
    return await make(files, signal);
  } catch (error) {
    await files[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * What is in a directory says what it is: skopeo's layout, or else a root file system.
 * @throws SourceError `invalid-archive` for a layout of another kind
 */
async function openDir(path: string, options: OpenOptions): Promise<LocalImages> {
  const files = await directoryFiles(path);
  if (await isSkopeoDir(files)) return await over(files, openSkopeoDir, options.signal);
  if ((await files.find("oci-layout")) && (await files.find("index.json")))
    throw invalidArchive(path, "it is an OCI layout, and no root file system", "write oci:PATH");
  const { openTree } = await import("./tree/tree-image.ts");
  return await openTree(path, options);
}

export type OpenOptions = ArchiveOptions & TreeOptions;

/** @throws SourceError `image-not-found`, `invalid-archive`; OciError for documents that are none */
export async function openLocation({ kind, path }: Location, options: OpenOptions): Promise<LocalImages> {
  const { signal } = options;
  if (kind === "oci") return await over(await directoryFiles(path), openLayout, signal);
  if (kind === "dir") return await openDir(path, options);
  if (kind === "tar") {
    const { openRootfsTar } = await import("./tree/tree-image.ts");
    return await openRootfsTar(path, options);
  }
  const files = await openArchive({ path }, options);
  return await over(files, kind === "oci-archive" ? openLayout : openDockerArchive, signal);
}

/**
 * An archive of either kind. One that is both, as Docker writes them since 25, is read as a layout, because only
 * that has the manifests as they were.
 */
export async function openAnyArchive(input: ArchiveInput, options: ArchiveOptions): Promise<LocalImages> {
  return await over(
    await openArchive(input, options),
    async (files, signal) => {
      if (await files.find("index.json")) return await openLayout(files, signal);
      if (await files.find("manifest.json")) return await openDockerArchive(files, signal);
      const hint = "flamebox load takes image archives; the file system of one is taken by flamebox import";
      throw invalidArchive(files.name, "it has neither an index.json nor a manifest.json", hint);
    },
    options.signal,
  );
}
