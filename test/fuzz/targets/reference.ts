/** Any text is a reference that comes back the same, or an `invalid-reference`. */
import * as fc from "fast-check";
import { familiar, format, parse } from "../../../src/reference/reference.ts";
import type { Reference } from "../../../src/reference/reference.ts";
import { FlameBoxError } from "../../../src/util/error.ts";
import { demand, utf8 } from "../target.ts";
import type { FuzzTarget } from "../target.ts";

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

function parsed(text: string): Reference | undefined {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof FlameBoxError) || error.code !== "invalid-reference") throw error;
    demand(!/\p{Cc}/u.test(error.message), () => `says ${error.message}`);
    return undefined;
  }
}

export const reference: FuzzTarget = {
  name: "reference",
  inputs: utf8(fc.oneof(likely, fc.string({ unit: "binary", maxLength: 300 }))),
  check(input) {
    const value = parsed(Buffer.from(input).toString("utf8"));
    if (value === undefined) return;
    const full = format(value);
    for (const text of [full, familiar(value)])
      demand(format(parse(text)) === full, () => `${text} comes back as ${format(parse(text))}`);
    const path = `/v2/${value.repository}/manifests/${value.tag ?? "x"}`;
    const url = new URL(`https://${value.registry}${path}`);
    demand(url.pathname === path && url.search === "" && url.username === "", () => `URL ${url.href}`);
  },
};
