/** Maps to `PUT /network-interfaces/{iface_id}`. */
import type { ApiClient } from "./client.ts";
import type { RateLimiter } from "./rate-limiter.ts";

export interface NetworkInterface {
  readonly iface_id: string;
  /** Name of a tap device in the VMM's network namespace. */
  readonly host_dev_name: string;
  readonly guest_mac?: string | undefined;
  readonly rx_rate_limiter?: RateLimiter | undefined;
  readonly tx_rate_limiter?: RateLimiter | undefined;
}

/** @throws MachineError `network-interface-refused` */
export async function putNetworkInterface(api: ApiClient, body: NetworkInterface): Promise<void> {
  await api.send({
    method: "PUT",
    path: `/network-interfaces/${body.iface_id}`,
    body,
    refusal: "network-interface-refused",
  });
}
