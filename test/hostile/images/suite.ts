/** One test a row, and one for its twin. */
import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isRoot, judge, makeCanary, oracle } from "./judge.ts";
import { gzipped, place } from "./row.ts";
import type { LayerRow, Want } from "./row.ts";

export function inPlace(): void {
  beforeAll(makeCanary);
  afterAll(() => rmSync(place, { recursive: true, force: true }));
}

async function expectWanted(layers: readonly Uint8Array[], want: Want): Promise<void> {
  const verdict = await judge(layers.map(gzipped));
  if (typeof want === "object" && "code" in want) return expect(verdict).toMatchObject(want);
  if (want !== "as umoci") return expect(verdict).toEqual({ tree: want });
  expect(verdict).toHaveProperty("tree");
  // Without root umoci changes owners and leaves out devices: then there is nothing to compare with.
  if (isRoot) expect(verdict).toEqual({ tree: await oracle(layers) });
}

export function suite(title: string, rows: readonly LayerRow[]): void {
  describe(title, () => {
    test.each(rows)("$name", async ({ layers, want }) => expectWanted(layers, want));
    test.each(rows)("benign: $name", async ({ twin, twinWant = "as umoci" }) => expectWanted(twin, twinWant));
  });
}
