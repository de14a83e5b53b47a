/** What every command begins with: the store, opened, and whatever killed processes left, collected. */
import { collectJails } from "../machine/jail/jail.ts";
import { mayHaveAttachments } from "../network/cni/attachments-dir.ts";
import type { Store } from "../store/layout.ts";
import { openStore } from "../store/store.ts";
import type { Paths } from "../util/paths.ts";
import { locatePaths } from "../util/paths.ts";
import { findAgent } from "./host.ts";
import type { OperationOptions } from "./options.ts";
import { healContainer } from "./lifecycle/heal.ts";
import { collectNames } from "./lifecycle/roster.ts";
import { collectWorkspaces } from "./workspace.ts";

/** For commands that need nothing of the store: what killed processes left is put right. @throws as `openHome` */
export async function tidyHome(options: OperationOptions): Promise<void> {
  const store = await openHome(options);
  await store[Symbol.asyncDispose]();
}

/** @throws StoreError `disk-full`, `store-unusable` */
export async function openHome(options: OperationOptions): Promise<Store> {
  const paths = options.paths ?? locatePaths();
  const store = await openStore(paths);
  try {
    const heal = async (id: string) => await healContainer(paths, id);
    const [removed] = await Promise.all([
      collectWorkspaces(paths, heal),
      collectJails(paths.dataDir),
      collectCni(paths, options),
    ]);
    // Of a process that was killed while it made a container.
    if (removed > 0) await collectNames(paths);
    return store;
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}

async function collectCni(paths: Paths, { onNotice }: OperationOptions): Promise<void> {
  if (!(await mayHaveAttachments(paths.dataDir))) return;
  const { collectAttachments } = await import("./cni.ts");
  await collectAttachments(paths.dataDir, { helper: async () => await findAgent(paths), onNotice });
}
