/** Maps to `GET /vm/config`: what a machine has, of which only its shape is read. */
import { array, looseObject, number, optional, safeParse, unknown } from "valibot";
import { MachineError } from "../../machine.ts";
import type { MachineShape } from "../../machine.ts";
import type { ApiClient } from "./client.ts";

const answer = looseObject({
  "machine-config": looseObject({ vcpu_count: number(), mem_size_mib: number() }),
  "network-interfaces": optional(array(unknown()), []),
});

/** All but what is of the writable disk, which is a file of the host's. */
export type FoundShape = Omit<MachineShape, "storageBytes" | "disk">;

/** @throws MachineError `vm-config-refused` */
export async function getShape(api: ApiClient): Promise<FoundShape> {
  const said = await api.send({ method: "GET", path: "/vm/config", refusal: "vm-config-refused" });
  const found = safeParse(answer, said);
  if (!found.success)
    throw new MachineError("vm-config-refused", "Firecracker does not say what its machine has");
  const { vcpu_count: cpus, mem_size_mib: memoryMib } = found.output["machine-config"];
  return { cpus, memoryMib, network: found.output["network-interfaces"].length > 0 };
}
