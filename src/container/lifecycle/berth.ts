/** The berth of a container that stays: its folder, and the disk that it has had, if it has run before. */
import { rm } from "node:fs/promises";
import type { DiskFile } from "../../machine/machine.ts";
import type { Paths } from "../../util/paths.ts";
import type { Berth } from "../berth.ts";
import { Workspace } from "../workspace.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir } from "./record.ts";
import type { ContainerState } from "./state.ts";

type Disk = NonNullable<ContainerState["disk"]>;

/** What is there stays there when the berth is disposed; its owner goes by another way. */
export async function keptBerth(
  paths: Paths,
  { id, image, autoRemove }: ContainerRecord,
  disk: Disk | undefined,
): Promise<Berth> {
  const workspace = new Workspace(containerDir(paths, id));
  const { scratchPath, backingPath } = workspace;
  const common = { id, image, workspace, [Symbol.asyncDispose]: async () => {} };
  if (disk !== undefined) {
    const usedDisk: DiskFile = {
      path: scratchPath,
      format: disk.format,
      ...(disk.hasBacking && { backingPath }),
    };
    return { ...common, disk: "used", usedDisk };
  }
  // Of a start that did not come to having one.
  for (const path of [scratchPath, backingPath]) await rm(path, { force: true });
  return { ...common, disk: autoRemove ? "passing" : "lasting" };
}

export function diskRecord({ format, backingPath }: DiskFile): Disk {
  return { format: format === "qcow2" ? "qcow2" : "raw", hasBacking: backingPath !== undefined };
}
