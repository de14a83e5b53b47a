import { templateContract } from "../contract/template.ts";
import { setUp } from "./setup.ts";

templateContract("Firecracker", setUp, { cpus: 1, memoryMib: 256, network: false });
