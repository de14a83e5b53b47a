/** Maps to `PUT /machine-config`. */
import { MachineError } from "../../machine.ts";
import type { ApiClient } from "./client.ts";

export interface MachineConfiguration {
  readonly vcpu_count: number;
  readonly mem_size_mib: number;
  /** Only for memory that may be saved incrementally. */
  readonly track_dirty_pages?: boolean | undefined;
  /** `T2`, `T2S`, `T2CL`, `T2A`, `V1N1`: hides what this processor has more than others of its kind. */
  readonly cpu_template?: string | undefined;
}

const MAX_VCPUS = 32;

/** @throws MachineError `machine-config-refused` */
export async function putMachineConfig(api: ApiClient, body: MachineConfiguration): Promise<void> {
  if (body.vcpu_count > MAX_VCPUS)
    throw new MachineError(
      "machine-config-refused",
      `Firecracker's machines have at most ${MAX_VCPUS} CPUs, not ${body.vcpu_count}`,
      { hint: "ask for fewer with --cpus, or choose --vmm qemu" },
    );
  await api.send({ method: "PUT", path: "/machine-config", body, refusal: "machine-config-refused" });
}
