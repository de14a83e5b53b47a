/** A good archive reads the same however it is cut; other archives are the fuzz targets `tar` and `pax`. */
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { collect } from "../support/tar-entries.ts";
import { SAMPLE } from "./targets/tar.ts";

const SEED = 20_240_117;
const chunkSizes = fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 1, maxLength: 5 });

it("every chunking of a good archive gives the same entries", () => {
  const whole = collect(SAMPLE);
  expect(whole.length).toBe(5);
  fc.assert(
    fc.property(chunkSizes, (sizes) => {
      expect(collect(SAMPLE, sizes)).toEqual(whole);
    }),
    { seed: SEED, numRuns: 300 },
  );
});
