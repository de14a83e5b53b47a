/** Maps to `PUT /actions`. */
import type { ApiClient } from "./client.ts";

/** Loads the kernel and lets the CPUs go. @throws MachineError `start-refused` */
export async function startInstance(api: ApiClient): Promise<void> {
  const body = { action_type: "InstanceStart" };
  await api.send({ method: "PUT", path: "/actions", body, refusal: "start-refused", deadlineMs: 30_000 });
}

/** Writes a line of metrics. @throws MachineError `metrics-refused` */
export async function flushMetrics(api: ApiClient): Promise<void> {
  const body = { action_type: "FlushMetrics" };
  await api.send({ method: "PUT", path: "/actions", body, refusal: "metrics-refused" });
}
