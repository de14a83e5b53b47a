/** Maps to `PUT /balloon` and `PATCH /balloon`: memory that the guest gives back. */
import type { ApiClient } from "./client.ts";

export interface Balloon {
  /** How much of its memory the guest is to do without. */
  readonly amount_mib: number;
  /** The guest takes it back before it runs out. */
  readonly deflate_on_oom: boolean;
}

/** @throws MachineError `balloon-refused` */
export async function putBalloon(api: ApiClient, body: Balloon): Promise<void> {
  await api.send({ method: "PUT", path: "/balloon", body, refusal: "balloon-refused" });
}

/** @throws MachineError `balloon-refused` */
export async function patchBalloon(api: ApiClient, body: Pick<Balloon, "amount_mib">): Promise<void> {
  await api.send({ method: "PATCH", path: "/balloon", body, refusal: "balloon-refused" });
}
