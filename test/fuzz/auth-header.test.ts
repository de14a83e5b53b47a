/** What is written properly is read as it was meant; other headers are the fuzz targets `auth-header`, `http-headers`. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseChallenges } from "../../src/auth/challenge.ts";

const token = fc.stringMatching(/^[a-z!#$%&'*+.^_`|~-]{1,12}$/);

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
    { seed: 0x0c3, numRuns: 5000 },
  );
});
