/** Hostile layers, as a table: whiteouts and replacements. `tables/` has the rows. */
import { inPlace, suite } from "./suite.ts";
import { changesOfType, whiteouts } from "./tables/whiteouts.ts";

inPlace();
suite("whiteouts", whiteouts);
suite("changes of type, and duplicates", changesOfType);
