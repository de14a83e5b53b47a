/** Maps to `PUT /balloon`, `PATCH /balloon` and `GET /balloon`: memory that the guest gives back. */
import { looseObject, number, safeParse } from "valibot";
import { MachineError } from "../../machine.ts";
import type { ApiClient } from "./client.ts";

export interface Balloon {
  /** How much of its memory the guest is to do without. */
  readonly amount_mib: number;
  /** The guest takes it back before it runs out. */
  readonly deflate_on_oom: boolean;
  /** Seconds between two reports of the guest's; 0 is none. */
  readonly stats_polling_interval_s?: number | undefined;
  /** The guest tells which pages are free, and the host has them back. From Firecracker 1.14 on. */
  readonly free_page_reporting?: boolean | undefined;
}

const answer = looseObject({ amount_mib: number() });

/** @throws MachineError `balloon-refused` */
export async function putBalloon(api: ApiClient, body: Balloon): Promise<void> {
  await api.send({ method: "PUT", path: "/balloon", body, refusal: "balloon-refused" });
}

/** Of a machine that runs. @throws MachineError `balloon-refused` */
export async function patchBalloon(api: ApiClient, body: Pick<Balloon, "amount_mib">): Promise<void> {
  await api.send({ method: "PATCH", path: "/balloon", body, refusal: "balloon-refused" });
}

/** How much the guest was asked to do without. @throws MachineError `balloon-refused` */
export async function getBalloonMib(api: ApiClient): Promise<number> {
  const said = await api.send({ method: "GET", path: "/balloon", refusal: "balloon-refused" });
  const found = safeParse(answer, said);
  if (found.success) return found.output.amount_mib;
  throw new MachineError("balloon-refused", "Firecracker does not say how large the balloon is");
}
