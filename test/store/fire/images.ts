/** Small images for stores under fire: any process makes them from a number, and any other can say what is in them. */
import { open } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { loadImages } from "../../../src/images/load.ts";
import { pullImage } from "../../../src/images/pull.ts";
import { openRootfs } from "../../../src/images/rootfs.ts";
import { saveImages } from "../../../src/images/save.ts";
import { parse } from "../../../src/reference/reference.ts";
import { digestOf } from "../../../src/reference/digest.ts";
import { readRootfsFile } from "../../../src/rootfs/read.ts";
import { openAnyArchive } from "../../../src/source/open.ts";
import type { ImageSource } from "../../../src/source/source.ts";
import type { ImageRecord } from "../../../src/store/records.ts";
import type { Store } from "../../../src/store/store.ts";
import { archive, entry } from "../../support/tar-builder.ts";

const platform = { os: "linux", architecture: "amd64" };

/** Larger than what an index holds, and not all zeros. */
const contentOf = (number: number) => Buffer.alloc(9000 + number, `content ${number} `);
/** Images share layers with their neighbours. */
const layersOf = (number: number) => [100, 200 + (number % 2), 300 + number];

export const referenceOf = (number: number) => `fire.test/image:${number}`;

export function sourceOf(number: number): ImageSource {
  const layers = layersOf(number).map((layer) => {
    const tar = archive(
      entry({ name: `etc/${layer}` }, `small ${layer}`),
      entry({ name: `data/${layer}` }, contentOf(layer)),
    );
    return { bytes: gzipSync(tar, { level: 1 }), diffId: digestOf(tar) };
  });
  const rootfs = { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) };
  const config = Buffer.from(JSON.stringify({ ...platform, config: {}, rootfs }));
  const described = (bytes: Uint8Array, mediaType: string) => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const type = "application/vnd.oci.image";
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: `${type}.manifest.v1+json`,
      config: described(config, `${type}.config.v1+json`),
      layers: layers.map(({ bytes }) => described(bytes, `${type}.layer.v1.tar+gzip`)),
    }),
  );
  const contents = new Map<string, Uint8Array>(
    [config, ...layers.map(({ bytes }) => bytes)].map((b) => [digestOf(b), b]),
  );
  return {
    name: referenceOf(number),
    resolve: async () => ({
      descriptor: described(manifest, `${type}.manifest.v1+json`),
      manifestBytes: manifest,
      referenceDigest: digestOf(manifest),
      async *openBlob({ digest }) {
        yield new Uint8Array(contents.get(digest) ?? new Uint8Array(0));
      },
    }),
  };
}

export async function pull(store: Store, number: number): Promise<ImageRecord> {
  return await pullImage(store, parse(referenceOf(number)), sourceOf(number), { platform });
}

/** Which images the archive has. */
const IN_ARCHIVE = [6, 7];

/** As `flamebox save` writes it. */
export async function writeArchive(store: Store, path: string): Promise<void> {
  for (const number of IN_ARCHIVE) await pull(store, number);
  const file = await open(path, "wx");
  try {
    const write = async (bytes: Uint8Array): Promise<void> => void (await file.write(bytes));
    await saveImages(store, IN_ARCHIVE.map(referenceOf), { format: "oci-archive", write });
  } finally {
    await file.close();
  }
}

/** All that is in the archive, as `flamebox load` does, and looks at it. */
export async function load(store: Store, path: string): Promise<void> {
  await using images = await openAnyArchive({ path }, { workspace: store.workspace });
  for (const image of await loadImages(store, images, { platform }))
    await use(store, image, IN_ARCHIVE.find((number) => referenceOf(number) === image.reference) ?? 0);
}

/** Opens the image as a run does, and reads it. @throws when anything in it is not what it should be */
export async function use(store: Store, image: ImageRecord, number: number): Promise<void> {
  await using rootfs = await openRootfs(store, image);
  for (const layer of layersOf(number)) {
    const got = Buffer.from(readRootfsFile(rootfs.disk, `data/${layer}`, { maxBytes: 2 ** 20 }));
    if (!got.equals(contentOf(layer))) throw new Error(`data/${layer} of image ${number} is wrong`);
  }
}
