import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseChallenges } from "../../src/auth/challenge.ts";
import { parseContentRange } from "../../src/source/registry/blob.ts";
import { detailOf, parseRetryAfter } from "../../src/source/registry/http-error.ts";

const options = { seed: 0x0c3, numRuns: 5000 };
const token = fc.stringMatching(/^[a-z!#$%&'*+.^_`|~-]{1,12}$/);
const piece = fc.constantFrom(
  "Bearer",
  "Basic",
  "realm",
  "=",
  '"',
  "\\",
  ",",
  " ",
  "\t",
  "a+/==",
  "é",
  "\0",
  "x",
);
const noise = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(""));

test("any header gives challenges with proper names", () => {
  fc.assert(
    fc.property(fc.oneof(noise, fc.string({ unit: "binary", maxLength: 500 })), (header) => {
      for (const { scheme, parameters } of parseChallenges(header)) {
        for (const name of [scheme, ...parameters.keys()])
          expect(name).toMatch(/^[!#$%&'*+\-.^_`|~0-9a-z]+$/);
      }
    }),
    options,
  );
});

test("what is written properly is read as it was meant", () => {
  const parameters = fc.uniqueArray(fc.tuple(token, fc.string()), {
    minLength: 1,
    maxLength: 5,
    selector: ([name]) => name,
  });
  const challenges = fc.array(fc.tuple(token, parameters), { maxLength: 4 });
  fc.assert(
    fc.property(challenges, (list) => {
      const quoted = (text: string) => `"${text.replace(/["\\]/g, "\\$&")}"`;
      const header = list.map(
        ([scheme, all]) => `${scheme} ${all.map(([n, v]) => `${n}=${quoted(v)}`).join(", ")}`,
      );
      const got = parseChallenges(header.join(", "));
      expect(got).toEqual(list.map(([scheme, all]) => ({ scheme, parameters: new Map(all) })));
    }),
    options,
  );
});

test("other headers and error bodies never throw", () => {
  fc.assert(
    fc.property(fc.oneof(noise, fc.string({ unit: "binary" }), fc.json()), (text) => {
      const waitMs = parseRetryAfter(text, 0);
      expect(waitMs === undefined || waitMs >= 0).toBe(true);
      const range = parseContentRange(text);
      expect(range === undefined || Number.isSafeInteger(range.last)).toBe(true);
      expect(detailOf(text)).not.toMatch(/\p{Cc}/u);
    }),
    options,
  );
});
