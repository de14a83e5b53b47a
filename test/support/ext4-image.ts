/** Writes merged layers as an ext4 file, and asks e2fsprogs about it. */
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { Blobs } from "../../src/rootfs/export/blobs.ts";
import { planExt4, writeExt4 } from "../../src/rootfs/export/ext4.ts";
import { mergeLayers } from "../../src/rootfs/metadata.ts";
import { validate } from "../../src/rootfs/validate.ts";
import type { ValidatedTree } from "../../src/rootfs/validate.ts";
import type { BuiltLayer } from "./layer-index.ts";

export const UUID = Uint8Array.from({ length: 16 }, (_, at) => at + 1);

export function treeOf(layers: readonly BuiltLayer[]): ValidatedTree {
  return validate(mergeLayers(layers).tree());
}

export function writeBlobs(dir: string, layers: readonly BuiltLayer[]): string[] {
  return layers.map(({ blob }, number) => {
    const path = join(dir, `blob${number}`);
    writeFileSync(path, blob);
    return path;
  });
}

/** The file's path. */
export async function writeExt4File(
  dir: string,
  layers: readonly BuiltLayer[],
  options: { readonly sizeBytes?: number; readonly name?: string } = {},
): Promise<string> {
  const tree = treeOf(layers);
  const path = join(dir, options.name ?? "out.ext4");
  await using blobs = await Blobs.open(tree, writeBlobs(dir, layers));
  await using out = await open(path, "wx");
  await writeExt4(planExt4(tree, { uuid: UUID, sizeBytes: options.sizeBytes }), blobs, out, {});
  return path;
}

/** e2fsck changes nothing; its exit code is 0 when it finds nothing to change. */
export function e2fsck(path: string): { readonly status: number | null; readonly said: string } {
  const { status, stdout, stderr } = spawnSync("/usr/sbin/e2fsck", ["-fn", path], { encoding: "latin1" });
  return { status, said: status === 0 ? "" : stdout + stderr };
}

/** What debugfs prints for some requests, latin1. */
export function debugfs(path: string, requests: readonly string[]): string {
  const args = requests.flatMap((request) => ["-R", request]).slice(0, 2);
  return execFileSync("/usr/sbin/debugfs", [...args, path], {
    encoding: "latin1",
    maxBuffer: 1e9,
    stdio: "pipe",
  });
}
