/** Hostile layers, as a table: names and links. `tables/` has the rows. */
import { describe } from "vitest";
import { inPlace, suite } from "./suite.ts";
import { links } from "./tables/links.ts";
import { names } from "./tables/names.ts";

inPlace();
describe("names", () => {
  suite(names);
});
describe("links", () => {
  suite(links);
});
