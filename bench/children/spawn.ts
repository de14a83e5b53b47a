/** Runs one of the scripts beside this file in a process of its own and reads the JSON that it prints. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export interface ChildOptions {
  /** Another script beside this file, to be loaded first. */
  readonly preload?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export async function measureIn(
  script: string,
  args: readonly string[],
  { preload, env = {} }: ChildOptions = {},
): Promise<Record<string, unknown>> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const first = preload === undefined ? [] : ["--import", new URL(preload, import.meta.url).href];
  const { stdout } = await promisify(execFile)(process.execPath, [...first, path, ...args], {
    maxBuffer: 1 << 20,
    env: { ...process.env, ...env },
  });
  return JSON.parse(stdout) as Record<string, unknown>;
}

export function numberOf(result: Record<string, unknown>, field: string): number {
  const value = result[field];
  if (typeof value !== "number" || !Number.isFinite(value))
    throw new Error(`the measuring process gave no ${field}`);
  return value;
}

export function numbersOf(result: Record<string, unknown>, field: string): number[] {
  const value = result[field];
  if (!Array.isArray(value)) throw new Error(`the measuring process gave no ${field}`);
  return value.map(Number);
}
