/**
 * A layout in a directory, made or added to. Blobs appear whole or not at all, and index.json last, so that
 * whoever reads meanwhile sees the images that were there before.
 */
import { mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { MAX_MANIFEST_BYTES, parseIndex } from "../../oci/manifest.ts";
import { MediaType } from "../../oci/media-type.ts";
import { publish, temporaryName } from "../../util/atomic-file.ts";
import { systemCode } from "../../util/error.ts";
import { SourceError } from "../error.ts";
import { invalidArchive, readDocument } from "../local.ts";
import type { FileSink, OutgoingImage } from "../sink.ts";
import { directoryFiles } from "./directory.ts";
import { IMAGE_NAME, REF_NAME } from "./layout.ts";
import { namesAs, writeLayout } from "./write.ts";
import type { WriteLayoutOptions } from "./write.ts";

/** Documents are written anew each time, blobs once. */
const DOCUMENTS = new Set(["index.json", "manifest.json"]);

function directorySink(dir: string): FileSink {
  return {
    async has(name) {
      if (DOCUMENTS.has(name)) return false;
      return await stat(join(dir, name)).then(
        (found) => found.isFile(),
        (error: unknown) => {
          if (systemCode(error) === "ENOENT") return false;
          throw error;
        },
      );
    },
    async put(name, sizeBytes, chunks) {
      const path = join(dir, name);
      await mkdir(dirname(path), { recursive: true });
      const temporary = temporaryName(dir, ".write");
      try {
        await writeChunks(temporary, name, sizeBytes, chunks);
        await publish(temporary, path);
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
    },
  };
}

async function writeChunks(
  path: string,
  name: string,
  sizeBytes: number,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  await using handle = await open(path, "wx", 0o644);
  let done = 0;
  for await (const chunk of chunks) {
    await handle.writeFile(chunk);
    done += chunk.length;
  }
  if (done !== sizeBytes)
    throw new SourceError("size-mismatch", `${name} has ${done} bytes, want ${sizeBytes}`);
  await handle.sync();
}

/**
 * The entries that stay: those whose names are not given anew. As they are, fields we do not know included. Where an
 * entry has no image's name, as skopeo's have none, its short one counts: of two entries of one tag, the first is read.
 */
async function keptEntries(dir: string, images: readonly OutgoingImage[]): Promise<object[]> {
  await using files = await directoryFiles(dir);
  if ((await files.find("index.json")) === undefined) {
    if ((await files.find("oci-layout")) ?? (await readdir(dir)).length === 0) return [];
    throw invalidArchive(dir, "there is such a directory, and it is no image layout", "choose another name");
  }
  const bytes = await readDocument(files, "index.json", MAX_MANIFEST_BYTES);
  parseIndex(bytes, MediaType.ociIndex);
  const { manifests } = JSON.parse(bytes.toString("utf8")) as {
    manifests: { digest?: string; annotations?: Record<string, string> | null }[];
  };
  const names = new Set(images.flatMap(({ references }) => references));
  const shortNames = new Set(
    images.flatMap(({ references }) => references.map((one) => namesAs(one)[REF_NAME])),
  );
  const digests = new Set(
    images.flatMap(({ index, images: all }) => [index?.descriptor.digest ?? all[0]?.descriptor.digest]),
  );
  return manifests.filter(({ digest, annotations }) => {
    const name = annotations?.[IMAGE_NAME] || undefined;
    const shortName = annotations?.[REF_NAME] || undefined;
    if (name !== undefined) return !names.has(name);
    if (shortName !== undefined) return !shortNames.has(shortName) && !names.has(shortName);
    return !digests.has(digest as never);
  });
}

/** @throws SourceError `invalid-archive` when the directory is there and is no layout */
export async function writeLayoutDirectory(
  dir: string,
  images: readonly OutgoingImage[],
  options: WriteLayoutOptions = {},
): Promise<void> {
  const isNew = (await mkdir(dir, { recursive: true })) !== undefined;
  const keep = isNew ? [] : await keptEntries(dir, images);
  await writeLayout(directorySink(dir), images, { ...options, keep });
}
