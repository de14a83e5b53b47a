/** Hostile layers, as a table: names and links. `tables/` has the rows. */
import { inPlace, suite } from "./suite.ts";
import { links } from "./tables/links.ts";
import { names } from "./tables/names.ts";

inPlace();
suite("names", names);
suite("links", links);
