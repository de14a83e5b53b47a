/**
 * The six-layer image as its own process sees it, entry by entry against what `umoci unpack` makes of the same
 * image on this host: kind, mode, owner, mtime to the nanosecond, link groups, device numbers, extended
 * attributes, sizes and content.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import { layout } from "../support/images/layouts.ts";

const root = process.getuid?.() === 0;
const walker = new URL("walk.py", import.meta.url);

type Entry = Readonly<Record<string, unknown>>;

/** Where the two may differ, and why. A dot stands for the root directory itself. */
const differences: readonly {
  readonly name: string;
  readonly fields: readonly string[];
  readonly why: string;
}[] = [
  { name: "etc", fields: ["mtime"], why: "the three files below are made in it" },
  { name: "etc/hosts", fields: ["*"], why: "written for the container" },
  { name: "etc/hostname", fields: ["*"], why: "written for the container" },
  { name: "etc/resolv.conf", fields: ["*"], why: "written for the container" },
  { name: "proc", fields: ["*"], why: "a mount of the container" },
  { name: "sys", fields: ["*"], why: "a mount of the container" },
  { name: "dev", fields: ["*"], why: "a mount of the container" },
];

function treeOf(lines: string): Map<string, Entry> {
  const entries = lines
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Entry);
  return new Map(
    entries.map((entry) => [Buffer.from(String(entry["name"]), "hex").toString("latin1"), entry]),
  );
}

function differencesBetween(guest: Map<string, Entry>, host: Map<string, Entry>): string[] {
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

async function unpacked(): Promise<Map<string, Entry>> {
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

describe.skipIf(!root)(
  "the six-layer image (skipped without root: umoci needs it for devices and owners)",
  () => {
    test("is inside the guest what umoci unpacks", async () => {
      await using home = await makeHome(inject("kernelDir"));
      const image = `${inject("registry")}/flamebox/edge:1`;
      const inside = home.run(["run", "--rm", "-q", "-i", "-m", "1g", image, "python3", "-"], {
        input: await readFile(walker),
      });
      const [host, { code, stdout, stderr }] = await Promise.all([unpacked(), inside]);
      expect(code, stderr).toBe(0);
      const guest = treeOf(stdout);
      expect(guest.size).toBeGreaterThan(8000);
      expect(differencesBetween(guest, host)).toEqual([]);
    });
  },
);
