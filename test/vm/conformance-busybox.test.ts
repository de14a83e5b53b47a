/** The conformance table (test/conformance) on Busybox: what a container finds, seen from inside. */
import { flameboxConformance } from "../conformance/flamebox.ts";

flameboxConformance("busybox");
