/**
 * The six-layer image as its own process sees it, entry by entry against what `umoci unpack` makes of the same
 * image on this host: kind, mode, owner, mtime to the nanosecond, link groups, device numbers, extended
 * attributes, sizes and content.
 */
import { readFile } from "node:fs/promises";
import { describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import { differencesBetween, treeOf, unpackedEdge, walker } from "../support/umoci-tree.ts";
import type { Difference } from "../support/umoci-tree.ts";

const root = process.getuid?.() === 0;
/** Where the two may differ, and why. */
const differences: readonly Difference[] = [
  { name: "etc", fields: ["mtime"], why: "the three files below are made in it" },
  { name: "etc/hosts", fields: ["*"], why: "written for the container" },
  { name: "etc/hostname", fields: ["*"], why: "written for the container" },
  { name: "etc/resolv.conf", fields: ["*"], why: "written for the container" },
  { name: "proc", fields: ["*"], why: "a mount of the container" },
  { name: "sys", fields: ["*"], why: "a mount of the container" },
  { name: "dev", fields: ["*"], why: "a mount of the container" },
];

describe.skipIf(!root)(
  "the six-layer image (skipped without root: umoci needs it for devices and owners)",
  () => {
    test("is inside the guest what umoci unpacks", async () => {
      await using home = await makeHome(inject("kernelDir"));
      const image = `${inject("registry")}/flamebox/edge:1`;
      const inside = home.run(["run", "--rm", "-q", "-i", "-m", "1g", image, "python3", "-"], {
        input: await readFile(walker),
      });
      const [host, { code, stdout, stderr }] = await Promise.all([unpackedEdge(), inside]);
      expect(code, stderr).toBe(0);
      const guest = treeOf(stdout);
      expect(guest.size).toBeGreaterThan(8000);
      expect(differencesBetween(guest, host, differences)).toEqual([]);
    });
  },
);
