import * as fc from "fast-check";
import { expect, test } from "vitest";
import { familiar, format, parse } from "../../src/reference/reference.ts";
import type { Reference } from "../../src/reference/reference.ts";
import { FlameBoxError } from "../../src/util/error.ts";

const options = { seed: 0x0c1, numRuns: 5000 };
const piece = fc.constantFrom(
  ..."a Z 0 9 . - _ : / @ [ ] %".split(" "),
  " ",
  "\n",
  "\0",
  "é",
  "docker.io",
  "index.docker.io",
  "localhost",
  "library",
  "latest",
  "::1",
  "5000",
  "sha256:",
  "0123456789abcdef",
);
const likely = fc.array(piece, { maxLength: 16 }).map((pieces) => pieces.join(""));

/** Either a reference that comes back the same, or an `invalid-reference`; else what is wrong. */
function faultOf(text: string): string | undefined {
  let reference: Reference;
  try {
    reference = parse(text);
  } catch (error) {
    const right = error instanceof FlameBoxError && error.code === "invalid-reference";
    return right && !/\p{Cc}/u.test(error.message) ? undefined : `threw ${String(error)}`;
  }
  const full = format(reference);
  if (format(parse(full)) !== full) return `${full} comes back as ${format(parse(full))}`;
  const short = familiar(reference);
  if (format(parse(short)) !== full) return `${short} comes back as ${format(parse(short))}`;
  const url = new URL(
    `https://${reference.registry}/v2/${reference.repository}/manifests/${reference.tag ?? "x"}`,
  );
  const path = `/v2/${reference.repository}/manifests/${reference.tag ?? "x"}`;
  return url.pathname === path && url.search === "" && url.username === "" ? undefined : `URL ${url.href}`;
}

test("any text is a reference that comes back the same, or an invalid-reference", () => {
  fc.assert(
    fc.property(fc.oneof(likely, fc.string({ unit: "binary", maxLength: 300 })), (text) => {
      expect(faultOf(text)).toBeUndefined();
    }),
    options,
  );
});
