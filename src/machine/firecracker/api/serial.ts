/** Maps to `PUT /serial`: the guest's console. What is over its limit is dropped. */
import type { ApiClient } from "./client.ts";
import type { TokenBucket } from "./rate-limiter.ts";

export interface SerialDevice {
  /** Bytes. From Firecracker 1.16 on. */
  readonly rate_limiter?: TokenBucket | undefined;
}

/** Before the machine starts; a saved machine does not have it in it. @throws MachineError `serial-refused` */
export async function putSerial(api: ApiClient, body: SerialDevice): Promise<void> {
  await api.send({ method: "PUT", path: "/serial", body, refusal: "serial-refused" });
}
