/** Writes merged layers as an ext4 file, and asks e2fsprogs about it. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { Blobs } from "../../src/rootfs/export/blobs.ts";
import { planExt4, writeExt4 } from "../../src/rootfs/export/ext4.ts";
import { mergeLayers } from "../../src/rootfs/metadata.ts";
import { validate } from "../../src/rootfs/validate.ts";
import type { ValidatedTree } from "../../src/rootfs/validate.ts";
import type { BuiltLayer } from "./layer-index.ts";
import { SAMPLE } from "./sample-stack.ts";

export const UUID = Uint8Array.from({ length: 16 }, (_, at) => at + 1);
const SBIN = "/usr/sbin";

/** All of the sample that an ext4 file system can hold: one file has more xattrs than a block. */
export const HOLDABLE = SAMPLE.map((layer) => layer.filter(({ name }) => name !== "odd/big-xattr"));

export function treeOf(layers: readonly BuiltLayer[]): ValidatedTree {
  return validate(mergeLayers(layers).tree());
}

export function writeBlobs(dir: string, layers: readonly BuiltLayer[]): string[] {
  return layers.map(({ blob }, number) => {
    const path = join(dir, `blob${number}`);
    // Blobs that are there are too large to be made in memory.
    if (!existsSync(path) || blob.length > 0) writeFileSync(path, blob);
    return path;
  });
}

/** The file's path. */
export async function writeExt4File(
  dir: string,
  layers: readonly BuiltLayer[],
  options: { readonly sizeBytes?: number } = {},
): Promise<string> {
  const tree = treeOf(layers);
  const path = join(dir, "out.ext4");
  rmSync(path, { force: true });
  await using blobs = await Blobs.open(tree, writeBlobs(dir, layers));
  await using out = await open(path, "wx");
  await writeExt4(planExt4(tree, { uuid: UUID, sizeBytes: options.sizeBytes }), blobs, out, {});
  return path;
}

/** e2fsck changes nothing; its exit code is 0 when it finds nothing to change. */
export function e2fsck(path: string): { readonly status: number | null; readonly said: string } {
  const { status, stdout, stderr } = spawnSync(join(SBIN, "e2fsck"), ["-fn", path], { encoding: "latin1" });
  return { status, said: status === 0 ? "" : stdout + stderr };
}
export const CLEAN = { status: 0, said: "" };

/** What debugfs answers to each of some requests, latin1. */
export function debugfs(path: string, requests: readonly string[]): string[] {
  const script = `${path}.requests`;
  writeFileSync(script, `${requests.join("\n")}\n`, "latin1");
  const out = execFileSync(join(SBIN, "debugfs"), ["-f", script, path], {
    encoding: "latin1",
    maxBuffer: 1e9,
    stdio: "pipe",
  });
  // Each answer begins with the request.
  const answers = out.split(/^debugfs: .*\n/m).slice(1);
  if (answers.length !== requests.length)
    throw new Error(`${answers.length} answers to ${requests.length} requests`);
  return answers;
}
