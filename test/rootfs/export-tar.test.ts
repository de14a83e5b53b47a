import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Blobs } from "../../src/rootfs/export/blobs.ts";
import { tarPieces } from "../../src/rootfs/export/tar.ts";
import { buildLayers } from "../support/layer-index.ts";
import type { BuiltLayer } from "../support/layer-index.ts";
import { scratchDir } from "../support/rootfs-image.ts";
import { SAMPLE } from "../support/sample-stack.ts";
import { treeOf, writeBlobs } from "../support/ext4-image.ts";

async function archiveOf(dir: string, layers: readonly BuiltLayer[]): Promise<Buffer> {
  const tree = treeOf(layers);
  await using blobs = await Blobs.open(tree, writeBlobs(dir, layers));
  const out: Buffer[] = [];
  for await (const piece of tarPieces(tree, blobs)) out.push(Buffer.from(piece));
  return Buffer.concat(out);
}

test("x", async () => {
  using scratch = scratchDir();
  const tar = await archiveOf(scratch.path, buildLayers(SAMPLE));
  writeFileSync("/tmp/wt-exports-work/x.tar", tar);
});
