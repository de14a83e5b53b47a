/** What servers say about authentication, ranges and waiting. */
import * as fc from "fast-check";
import { parseChallenges } from "../../../src/auth/challenge.ts";
import { parseContentRange } from "../../../src/source/registry/blob.ts";
import { detailOf, parseRetryAfter } from "../../../src/source/registry/http-error.ts";
import { demand, utf8 } from "../target.ts";
import type { FuzzTarget } from "../target.ts";

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
const textOf = (input: Uint8Array): string => Buffer.from(input).toString("utf8");

export const authHeader: FuzzTarget = {
  name: "auth-header",
  inputs: utf8(fc.oneof(noise, fc.string({ unit: "binary", maxLength: 500 }))),
  check(input) {
    for (const { scheme, parameters } of parseChallenges(textOf(input))) {
      for (const name of [scheme, ...parameters.keys()])
        demand(/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name), () => `took ${JSON.stringify(name)}`);
    }
  },
};

export const httpHeaders: FuzzTarget = {
  name: "http-headers",
  inputs: utf8(fc.oneof(noise, fc.string({ unit: "binary" }), fc.json())),
  check(input) {
    const text = textOf(input);
    const waitMs = parseRetryAfter(text, 0);
    demand(waitMs === undefined || waitMs >= 0, () => `waits ${waitMs} ms`);
    const range = parseContentRange(text);
    demand(range === undefined || Number.isSafeInteger(range.last), () => `a range to ${range?.last}`);
    demand(!/\p{Cc}/u.test(detailOf(text) ?? ""), () => `says ${detailOf(text)}`);
  },
};
