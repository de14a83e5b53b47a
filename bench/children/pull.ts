/** Pulls one image into an empty home through the library: pull.js REFERENCE HOME. */
import { locatePaths, pull } from "flamebox";

const [reference, home] = process.argv.slice(2);
if (reference === undefined || home === undefined) throw new Error("usage: pull.js REFERENCE HOME");
const started = performance.now();
await pull(reference, { paths: locatePaths({ FLAMEBOX_HOME: home }), dockerConfig: null });
const wallMs = performance.now() - started;
// Linux counts maxRSS in KiB.
process.stdout.write(JSON.stringify({ wallMs, peakRssMb: (process.resourceUsage().maxRSS * 1024) / 1e6 }));
