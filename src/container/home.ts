/** What every command begins with: the store, opened, and whatever killed processes left, collected. */
import { collectJails } from "../machine/jail/jail.ts";
import { collectAttachments } from "../network/cni/attachment.ts";
import type { Store } from "../store/layout.ts";
import { openStore } from "../store/store.ts";
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
    const helper = async () => await findAgent(paths);
    const [removed] = await Promise.all([
      collectWorkspaces(paths, heal),
      collectJails(paths.dataDir),
      collectAttachments(paths.dataDir, { helper, onNotice: options.onNotice }),
    ]);
    // Of a process that was killed while it made a container.
    if (removed > 0) await collectNames(paths);
    return store;
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}
