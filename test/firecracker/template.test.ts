import { templateContract } from "../contract/template.ts";
import { firecrackerHost } from "./setup.ts";

templateContract("Firecracker", async () => await firecrackerHost());
