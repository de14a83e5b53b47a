/** A process that has a place in a network of CNI and stays: its argument is the request, as JSON. For a test to kill. */
import type { AttachRequest } from "../../src/network/cni/attachment.ts";
import { attach } from "../../src/network/cni/attachment.ts";

await attach(JSON.parse(process.argv[2] ?? "") as AttachRequest);
process.stdout.write("attached\n");
setInterval(() => {}, 1_000);
