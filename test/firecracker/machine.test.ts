import { machineContract } from "../contract/machine.ts";
import { setUp } from "./setup.ts";

machineContract("Firecracker", setUp);
