/** What every command begins with: the store, opened, and whatever killed processes left, collected. */
import { collectJails } from "../machine/jail/jail.ts";
import type { Store } from "../store/layout.ts";
import { openStore } from "../store/store.ts";
import { locatePaths } from "../util/paths.ts";
import type { OperationOptions } from "./options.ts";
import { collectWorkspaces } from "./workspace.ts";

/** @throws StoreError `disk-full`, `store-unusable` */
export async function openHome(options: OperationOptions): Promise<Store> {
  const paths = options.paths ?? locatePaths();
  const store = await openStore(paths);
  try {
    await Promise.all([collectWorkspaces(paths), collectJails(paths.dataDir)]);
    return store;
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}
