/** Maps to `PUT /metrics`: a line of JSON every minute, and when it is asked for. */
import type { ApiClient } from "./client.ts";

export interface Metrics {
  /** A file or a FIFO; metrics.ts makes it one that does not grow. */
  readonly metrics_path: string;
}

/** Before the machine starts. @throws MachineError `metrics-refused` */
export async function putMetrics(api: ApiClient, body: Metrics): Promise<void> {
  await api.send({ method: "PUT", path: "/metrics", body, refusal: "metrics-refused" });
}
