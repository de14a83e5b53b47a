/**
 * `--label`, `--label-file`, `--annotation`: KEY=VALUE, and a label may be a KEY alone.
 * https://docs.docker.com/reference/cli/docker/container/run/#label
 */
import { UsageError } from "../failure.ts";
import { readTextFile } from "./text-file.ts";

export type LabelEntry = readonly [key: string, value: string];

export function parseLabel(argument: string, flag = "--label"): LabelEntry {
  const equals = argument.indexOf("=");
  const key = equals === -1 ? argument : argument.slice(0, equals);
  if (key.trim() === "") throw new UsageError(`${flag} '${argument}' has no key`, "write KEY=VALUE, or KEY");
  if (/\s/.test(key)) throw new UsageError(`${flag} '${argument}': the key contains white space`);
  return [key, equals === -1 ? "" : argument.slice(equals + 1)];
}

export function parseAnnotation(argument: string): LabelEntry {
  if (!argument.includes("="))
    throw new UsageError(`--annotation '${argument}' has no value`, "write KEY=VALUE");
  return parseLabel(argument, "--annotation");
}

/** A label a line; `#` begins a comment line. */
export function parseLabelFile(text: string, fileName: string): LabelEntry[] {
  return text
    .replace(/^\ufeff/, "")
    .split(/\r?\n/)
    .map((line, index) => [line.trimStart(), index + 1] as const)
    .filter(([line]) => line !== "" && !line.startsWith("#"))
    .map(([line, number]) => parseLabel(line, `label file '${fileName}', line ${number}:`));
}

export async function loadLabelFile(path: string): Promise<LabelEntry[]> {
  return parseLabelFile(await readTextFile(path, "label file"), path);
}

/** The last one of a key counts. A null prototype, so that a key named __proto__ is a key. */
export function recordOf(entries: readonly LabelEntry[]): Record<string, string> {
  const record = Object.create(null) as Record<string, string>;
  for (const [key, value] of entries) record[key] = value;
  return record;
}
