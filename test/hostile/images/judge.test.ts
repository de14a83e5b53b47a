/** The judge's own eyes: what a row takes while it runs counts, whatever is left of it. */
import { describe, expect, test } from "vitest";
import { pax } from "../../support/tar-builder.ts";
import { judge, sourceOf } from "./judge.ts";
import { file, gzipped, tar } from "./row.ts";
import { inPlace } from "./suite.ts";
import { configs, indexes } from "./tables/configs.ts";
import { extendedAttributes, extensions } from "./tables/extensions.ts";
import { links } from "./tables/links.ts";
import { manifests } from "./tables/manifests.ts";
import { names } from "./tables/names.ts";
import { framing, numbers } from "./tables/numbers.ts";
import { sparse } from "./tables/sparse.ts";
import { changesOfType, whiteouts } from "./tables/whiteouts.ts";

const MIB = 2 ** 20;
const LEAST_ROWS = 539;

/** What no compression makes shorter. */
function noise(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let i = 0, state = 1; i < sizeBytes; i++) bytes[i] = (state = (state * 48_271) % 0x7fff_ffff) & 255;
  return bytes;
}

describe("the judge", () => {
  inPlace();
  const large = tar(file("f", noise(3 * MIB)));
  const broken = gzipped(large.subarray(0, large.length - MIB));

  test("sees a disk that is empty again in the end", async () => {
    expect(await judge([broken])).toMatchObject({ code: "tar-truncated" });
    await expect(judge([broken], { caps: { diskBytes: MIB } })).rejects.toThrow("disk");
  });

  test("sees memory that is free again in the end, in every row anew", async () => {
    const blob = gzipped(tar(file("f")));
    // Taken while the source is asked, and let go before the pull goes on.
    const greedy = (sizeBytes: number) => {
      const source = sourceOf([blob]);
      return {
        ...source,
        resolve: async (...given: Parameters<typeof source.resolve>) => {
          Buffer.allocUnsafeSlow(sizeBytes).fill(1);
          return await source.resolve(...given);
        },
      };
    };
    for (let round = 0; round < 2; round++) {
      const judged = judge([blob], { source: greedy(160 * MIB) });
      await expect(judged).rejects.toThrow("memory");
    }
    expect(await judge([blob], { source: greedy(MIB) })).toMatchObject({ tree: expect.any(Array) });
  });

  test("sees attributes", async () => {
    const verdict = await judge([gzipped(tar(pax({ "SCHILY.xattr.user.x": "y" }), file("f")))]);
    expect(verdict).toMatchObject({ xattrs: ["f user.x=y"] });
  });
});

// A table that loses rows would fail nowhere else.
test("there are as many rows as there ever were, and none twice", () => {
  const layers = [numbers, framing, extensions, sparse, extendedAttributes, names, links];
  const tables = [...layers, whiteouts, changesOfType, manifests, configs, indexes];
  for (const table of tables) expect(new Set(table.map(({ name }) => name)).size).toBe(table.length);
  expect(tables.reduce((sum, { length }) => sum + length, 0)).toBeGreaterThanOrEqual(LEAST_ROWS);
});
