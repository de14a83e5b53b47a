import { confinementContract } from "../contract/confinement.ts";
import { firecrackerHost, isRoot } from "./setup.ts";

confinementContract("Firecracker", async () => await firecrackerHost(), { jailed: isRoot });
