/** Where the records of attachments are: alone, so that a command that finds none needs nothing else of CNI. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";

export function attachmentsDir(dataDir: string): string {
  return join(dataDir, "cni");
}

/** Whether anything may have to be collected. Only root makes machines in networks of CNI. */
export async function mayHaveAttachments(dataDir: string): Promise<boolean> {
  if (process.geteuid?.() !== 0) return false;
  return (await readdir(attachmentsDir(dataDir)).catch(() => [])).length > 0;
}
