/** Maps to `PATCH /vm`. */
import type { ApiClient } from "./client.ts";

/** @throws MachineError `state-refused` */
export async function patchVm(api: ApiClient, state: "Paused" | "Resumed"): Promise<void> {
  await api.send({ method: "PATCH", path: "/vm", body: { state }, refusal: "state-refused" });
}
