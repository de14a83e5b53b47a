/** The conformance table (test/conformance) on Debian: what a container finds, seen from inside. */
import { flameboxConformance } from "../conformance/flamebox.ts";

flameboxConformance("debian");
