/** Hostile layers, as a table: numbers, framing, extension headers, sparse maps, attributes. `tables/` has the rows. */
import { inPlace, suite } from "./suite.ts";
import { extendedAttributes, extensions } from "./tables/extensions.ts";
import { framing, numbers } from "./tables/numbers.ts";
import { sparse } from "./tables/sparse.ts";

inPlace();
suite("numbers", numbers);
suite("framing", framing);
suite("extension headers", extensions);
suite("sparse files", sparse);
suite("extended attributes", extendedAttributes);
