/** Hostile layers, as a table: whiteouts and replacements. `tables/` has the rows. */
import { describe } from "vitest";
import { inPlace, suite } from "./suite.ts";
import { changesOfType, whiteouts } from "./tables/whiteouts.ts";

inPlace();
describe("whiteouts", () => {
  suite(whiteouts);
});
describe("changes of type, and duplicates", () => {
  suite(changesOfType);
});
