/** The one way in: a transaction that commits or deletes. */
import { access, rename, rm } from "node:fs/promises";
import { publish, temporaryName } from "../util/atomic-file.ts";
import { systemCode } from "../util/error.ts";
import { explainDiskError } from "./error.ts";
import type { Store } from "./layout.ts";
import { markUntidy } from "./untidy.ts";

/** Gives the path to write to instead of `finalPath`. The writer creates the file and syncs it. */
export type Stage = (finalPath: string) => string;

interface Staged {
  readonly temporary: string;
  readonly finalPath: string;
}

export interface IngestOptions {
  /**
   * Derived data that is verified whenever it is used, so that a power failure may take it: the directory is
   * not synced, and the writer need not sync its files.
   */
  readonly isDerived?: boolean | undefined;
}

async function publishStaged({ temporary, finalPath }: Staged, isDerived: boolean): Promise<void> {
  try {
    await access(temporary);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    // The writer had nothing to put there. What is there then is damage, for the same name has the same parts.
    await rm(finalPath, { force: true });
    return;
  }
  await (isDerived ? rename : publish)(temporary, finalPath);
}

/**
 * Runs `fill`, which writes files under the names that `stage` gives. When it resolves, they are published in
 * the order in which they were staged: the commit point goes last. A file that was not written is left out.
 * When it rejects, or the disk is full, they are deleted.
 * @throws StoreError `disk-full`; whatever `fill` throws
 */
export async function ingest<T>(
  store: Store,
  fill: (stage: Stage) => Promise<T>,
  options: IngestOptions = {},
): Promise<T> {
  const staged: Staged[] = [];
  const stage: Stage = (finalPath) => {
    const temporary = temporaryName(store.workspace, "ingest");
    staged.push({ temporary, finalPath });
    return temporary;
  };
  let isPublishing = false;
  try {
    const result = await fill(stage);
    isPublishing = true;
    for (const part of staged) await publishStaged(part, options.isDerived ?? false);
    return result;
  } catch (error) {
    if (isPublishing) markUntidy(store.layout);
    // What cannot be removed now goes with the workspace.
    for (const { temporary } of staged) await rm(temporary, { force: true }).catch(() => {});
    throw explainDiskError(error, store.layout.dir);
  }
}
