/** Where a container is made: its id, its folder on the host, and what is there already of one that has run before. */
import type { Image } from "../images/images.ts";
import type { DiskFile, DiskUse } from "../machine/machine.ts";
import type { Paths } from "../util/paths.ts";
import { newContainerId } from "./container-id.ts";
import type { Workspace } from "./workspace.ts";
import { createWorkspace } from "./workspace.ts";

export interface Berth extends AsyncDisposable {
  readonly id: string;
  readonly workspace: Workspace;
  readonly disk: DiskUse;
  /** Of a container that has one: what its reference stands for by now does not matter. */
  readonly image?: Image | undefined;
  /** With `used`. */
  readonly usedDisk?: DiskFile | undefined;
}

/** For a container that nobody hears of but the caller, and that leaves nothing behind. */
export async function passingBerth(paths: Paths): Promise<Berth> {
  const id = newContainerId();
  const workspace = await createWorkspace(paths, id);
  return { id, workspace, disk: "passing", [Symbol.asyncDispose]: () => workspace[Symbol.asyncDispose]() };
}
