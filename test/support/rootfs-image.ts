/** Writes merged layers as files, for the tools that judge them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootfsDisk } from "../../src/rootfs/attach.ts";
import type { RootfsDisk } from "../../src/rootfs/attach.ts";
import { buildMetadata, mergeLayers } from "../../src/rootfs/metadata.ts";
import type { BuiltLayer } from "./layer-index.ts";

export interface ScratchDir extends Disposable {
  readonly path: string;
}

export function scratchDir(): ScratchDir {
  const path = mkdtempSync(join(tmpdir(), "flamebox-test-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Metadata and blobs in `dir`, as one disk. */
export async function writeDisk(dir: string, layers: readonly BuiltLayer[]): Promise<RootfsDisk> {
  const path = join(dir, "metadata.erofs");
  const { metadataBlocks } = await buildMetadata(mergeLayers(layers), { path });
  const blobs = layers.map(({ blob, index: { blobBlocks } }, number) => {
    const blobPath = join(dir, `blob${number}`);
    if (blobBlocks > 0) writeFileSync(blobPath, blob);
    return { path: blobPath, blobBlocks };
  });
  return rootfsDisk({ path, metadataBlocks }, blobs);
}
