/** Maps to `PUT /drives/{drive_id}` and `PATCH /drives/{drive_id}`. */
import type { ApiClient } from "./client.ts";
import type { RateLimiter } from "./rate-limiter.ts";

export interface Drive {
  /** Letters, digits and `_`. */
  readonly drive_id: string;
  readonly path_on_host: string;
  readonly is_read_only: boolean;
  readonly is_root_device: boolean;
  /** `Unsafe` does not wait for the host's disk when the guest flushes. */
  readonly cache_type?: "Unsafe" | "Writeback" | undefined;
  readonly rate_limiter?: RateLimiter | undefined;
}

/** @throws MachineError `drive-refused` */
export async function putDrive(api: ApiClient, body: Drive): Promise<void> {
  await send(api, "PUT", body);
}

/** Puts another file behind a drive of a machine that runs. @throws MachineError `drive-refused` */
export async function patchDrive(
  api: ApiClient,
  body: Pick<Drive, "drive_id" | "path_on_host">,
): Promise<void> {
  await send(api, "PATCH", body);
}

async function send(
  api: ApiClient,
  method: "PUT" | "PATCH",
  body: Pick<Drive, "drive_id" | "path_on_host">,
): Promise<void> {
  const files = [body.path_on_host];
  await api.send({ method, path: `/drives/${body.drive_id}`, body, refusal: "drive-refused", files });
}
