/** A process that joins a network and stays: `named-child.js HOME NETWORK ID`. For a test to kill. */
import { join } from "node:path";
import { startUserNetwork } from "../../src/network/user-mode.ts";

const [home = "", network = "", containerId = ""] = process.argv.slice(2);
const paths = { dataDir: join(home, "data"), runtimeDir: join(home, "run") };
const membership = { paths, network, containerId, name: "child", hostname: "child", aliases: [] };
const { guest } = await startUserNetwork({ membership });
process.stdout.write(`${guest.addresses[0]}\n`);
setInterval(() => {}, 1_000);
