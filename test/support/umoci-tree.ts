/** A tree entry by entry, as walk.py tells it, beside what `umoci unpack` makes of the same image. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { layout } from "./images/layouts.ts";

export const walker = new URL("../vm/walk.py", import.meta.url);

export type Entry = Readonly<Record<string, unknown>>;

/** Where two trees may differ, and why. A dot stands for the root directory itself. */
export interface Difference {
  readonly name: string;
  /** `*` is all of them, and whether it is there at all. */
  readonly fields: readonly string[];
  readonly why: string;
}

export function treeOf(lines: string): Map<string, Entry> {
  const entries = lines
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Entry);
  return new Map(
    entries.map((entry) => [Buffer.from(String(entry["name"]), "hex").toString("latin1"), entry]),
  );
}

export function differencesBetween(
  guest: Map<string, Entry>,
  host: Map<string, Entry>,
  differences: readonly Difference[],
): string[] {
  const found: string[] = [];
  for (const name of new Set([...guest.keys(), ...host.keys()])) {
    const [ours, theirs] = [guest.get(name), host.get(name)];
    const expected = differences.find((difference) => difference.name === name)?.fields ?? [];
    if (expected.includes("*")) continue;
    if (ours === undefined) found.push(`${name}: only in umoci's tree`);
    else if (theirs === undefined) found.push(`${name}: only in the guest's tree`);
    else
      for (const field of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
        const [got, want] = [JSON.stringify(ours[field]), JSON.stringify(theirs[field])];
        if (got !== want && !expected.includes(field))
          found.push(`${name}: ${field} is ${got}, umoci has ${want}`);
      }
  }
  return found;
}

/** The six-layer image. */
export async function unpackedEdge(): Promise<Map<string, Entry>> {
  const { dir, tag } = await layout("edge");
  const work = await mkdtemp(join(tmpdir(), "flamebox-umoci-"));
  try {
    const run = promisify(execFile);
    await run("umoci", ["unpack", "--image", `${dir}:${tag}`, join(work, "bundle")]);
    const { stdout } = await run("python3", [walker.pathname, join(work, "bundle", "rootfs")], {
      maxBuffer: 1 << 28,
    });
    return treeOf(stdout);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
