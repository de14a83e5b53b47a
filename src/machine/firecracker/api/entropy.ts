/** Maps to `PUT /entropy`: a virtio-rng device that is fed by the host's generator. */
import type { ApiClient } from "./client.ts";
import type { RateLimiter } from "./rate-limiter.ts";

export interface EntropyDevice {
  readonly rate_limiter?: RateLimiter | undefined;
}

/** @throws MachineError `entropy-refused` */
export async function putEntropy(api: ApiClient, body: EntropyDevice = {}): Promise<void> {
  await api.send({ method: "PUT", path: "/entropy", body, refusal: "entropy-refused" });
}
