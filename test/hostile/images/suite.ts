/** One test a row, and one for its twin. */
import { rmSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isRoot, judge, makeCanary, oracle } from "./judge.ts";
import type { Verdict } from "./judge.ts";
import { gzipped, place } from "./row.ts";
import type { LayerRow, Want } from "./row.ts";

export function inPlace(): void {
  beforeAll(makeCanary);
  afterAll(() => rmSync(place, { recursive: true, force: true }));
}

/** Only what a row says of it: the messages of errors are for people. */
export function essenceOf(verdict: Verdict): { code: string } | { tree: readonly string[] } {
  return "code" in verdict ? { code: verdict.code } : { tree: verdict.tree };
}

function xattrsOf(verdict: Verdict): readonly string[] {
  return ("tree" in verdict ? verdict.xattrs : undefined) ?? [];
}

async function wantedOf(layers: readonly Uint8Array[], want: Want, got: Verdict): Promise<unknown> {
  if (want !== "as umoci") return "code" in want ? want : { tree: want };
  // Without root umoci changes owners and leaves out devices: then there is nothing to compare with.
  return { tree: isRoot || "code" in got ? await oracle(layers) : got.tree };
}

export function suite(rows: readonly LayerRow[]): void {
  test.each(rows)("$name", async ({ layers, want, caps, xattrs }) => {
    const got = await judge(layers.map(gzipped), { caps });
    expect(essenceOf(got)).toEqual(await wantedOf(layers, want, got));
    expect(xattrsOf(got)).toEqual(xattrs ?? xattrsOf(got));
  });
  test.each(rows)("benign: $name", async ({ twin, twinWant = "as umoci", twinXattrs }) => {
    const got = await judge(twin.map(gzipped));
    expect(essenceOf(got)).toEqual(await wantedOf(twin, twinWant, got));
    expect(xattrsOf(got)).toEqual(twinXattrs ?? xattrsOf(got));
  });
}
