/**
 * A machine's network: what stands behind its network interface on the host, and what the guest is told.
 *
 *     guest eth0 ─ VMM ─ socket pair ─ network program ─ the host's own sockets
 *
 * Sibling files make one: user-mode.ts (passt, no root), cni/network.ts (what root's plugins make). A container with
 * `--network none` has none of this.
 */
import type { Duplex } from "node:stream";
import { FlameBoxError } from "../util/error.ts";

export interface PortForward {
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp";
}

/** resolv.conf(5) */
export interface Resolvers {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** What the agent sets on the guest's interface; protocol/PROTOCOL.md, `system.configure`. */
export interface GuestNetwork {
  readonly mac: string;
  readonly mtu: number;
  /** With prefix lengths: `10.0.2.15/24`. */
  readonly addresses: readonly string[];
  readonly gateways: readonly string[];
}

export interface Network extends AsyncDisposable {
  readonly guest: GuestNetwork;
  /** With the real host ports. */
  readonly ports: readonly PortForward[];
  /** What the guest's resolv.conf says by default: whom it can reach. */
  readonly resolvers: Resolvers;
  /** Joins the VMM: what comes from `frames` goes out, and what comes in goes to it. Once a network. */
  attach(frames: Duplex): void;
  /** Resolves with what the program said when it ended before it was disposed. */
  readonly failed: Promise<NetworkError>;
}

/** A network of CNI is written `cni:NAME`. Undefined for another. */
export function cniNameOf(network: string): string | undefined {
  return network.startsWith("cni:") ? network.slice("cni:".length) : undefined;
}

export class NetworkError extends FlameBoxError {
  override readonly name = "NetworkError";
}

/** @param name of a network of CNI @throws NetworkError `cni-needs-root` */
export function requireRoot(name: string): void {
  if (process.geteuid?.() === 0) return;
  throw new NetworkError("cni-needs-root", `--network cni:${name} takes root, as the network's plugins do`, {
    hint: "run flamebox as root, or use --network user or one of flamebox network create, which take none",
  });
}
