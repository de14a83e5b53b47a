/** Hostile layers, as a table: numbers, framing, extension headers, sparse maps, attributes. `tables/` has the rows. */
import { describe } from "vitest";
import { inPlace, suite } from "./suite.ts";
import { extendedAttributes, extensions } from "./tables/extensions.ts";
import { framing, numbers } from "./tables/numbers.ts";
import { sparse } from "./tables/sparse.ts";

inPlace();
describe("numbers", () => {
  suite(numbers);
});
describe("framing", () => {
  suite(framing);
});
describe("extension headers", () => {
  suite(extensions);
});
describe("sparse files", () => {
  suite(sparse);
});
describe("extended attributes", () => {
  suite(extendedAttributes);
});
