/** What the kernel says of this host in /proc and /sys, and what `doctor` makes of it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../util/error.ts";
import type { Check } from "./doctor.ts";

/** Undefined when there is no such file, or none that this user may read. @param root `/`, but in tests */
export async function textOf(root: string, path: string): Promise<string | undefined> {
  try {
    return (await readFile(join(root, path), "utf8")).trim();
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(systemCode(error) ?? "")) return undefined;
    throw error;
  }
}

export function ok(name: string, detail: string): Check {
  return { name, status: "ok", detail };
}

export function warning(name: string, detail: string, hint: string): Check {
  return { name, status: "warning", detail, hint };
}
