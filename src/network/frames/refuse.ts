/** What a guest hears at once when it may not go somewhere, and whoever listens besides. */
import { formatAddress } from "../address.ts";
import { icmpProhibited, tcpReset } from "../packet/build.ts";
import type { Packet } from "../packet/packet.ts";
import { PROTOCOL } from "../packet/packet.ts";
import type { Policy } from "../policy/policy.ts";
import { transportOf } from "../policy/policy.ts";
import type { RefusalSink } from "../policy/refusals.ts";

/** Undefined for what has no answer. */
export function refusalOf(packet: Packet): Buffer | undefined {
  return packet.protocol === PROTOCOL.tcp ? tcpReset(packet) : icmpProhibited(packet);
}

export function tellRefused(refusals: RefusalSink, policy: Policy, packet: Packet, reason: string): void {
  const { protocol, destination, destinationPort: port } = packet;
  const transport = transportOf(protocol) ?? "other";
  refusals.add(`${transport} ${port} ${String(destination)}`, () => ({
    protocol: transport,
    address: formatAddress(destination),
    port,
    names: policy.namesOf(destination),
    reason,
  }));
}

/** @param name undefined: there is nothing to tell */
export function tellName(refusals: RefusalSink, name: string | undefined): void {
  if (name === undefined) return;
  const reason = "no rule allows the name";
  refusals.add(`dns ${name}`, () => ({ protocol: "dns", address: "", port: 0, names: [name], reason }));
}
