/** Maps to `PUT /logger`. Without a path the log stays on standard output, where output.ts tells it from the console. */
import type { ApiClient } from "./client.ts";

export type LogLevel = "Off" | "Error" | "Warning" | "Info" | "Debug" | "Trace";

export interface Logger {
  readonly level?: LogLevel | undefined;
  readonly show_level?: boolean | undefined;
  /** File and line of Firecracker's source. */
  readonly show_log_origin?: boolean | undefined;
  /** Only what comes from there: `api_server::request`. */
  readonly module?: string | undefined;
}

/** @throws MachineError `logger-refused` */
export async function putLogger(api: ApiClient, body: Logger): Promise<void> {
  await api.send({ method: "PUT", path: "/logger", body, refusal: "logger-refused" });
}
