/**
 * Networking without root: `passt` turns the guest's Ethernet frames into ordinary sockets of this user.
 * https://passt.top/passt/about/
 *
 *     VMM ─ socket pair ─ FrameFilter ─► socket pair ─ passt ─ sockets
 *                       ◄───────────────
 *
 * Two things keep the host's loopback out of the guest's reach: `--no-map-gw`, without which the gateway's
 * address stands for the host, and the filter (frame-filter.ts) against frames that name the loopback. The
 * guest's addresses are fixed and set by the agent, so passt need not announce any.
 * Published TCP ports are passt's own sockets; published UDP ports are ours (udp-relay.ts).
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream";
import { CleanupStack } from "../util/cleanup.ts";
import { messageOf } from "../util/error.ts";
import { findProgram } from "../util/find-program.ts";
import { FrameFilter } from "./frame-filter.ts";
import type { GuestSubnet } from "./host-address.ts";
import { chooseGuestSubnet, outwardAddresses } from "./host-address.ts";
import type { GuestNetwork, Network, PortForward } from "./network.ts";
import { NetworkError } from "./network.ts";
import type { ReservedPorts } from "./ports.ts";
import { reservePorts } from "./ports.ts";
import { UdpRelay } from "./udp-relay.ts";

const MTU = 65_520;
/** passt numbers it: the first descriptor behind stdin, stdout, stderr. */
const FRAME_FD = 3;
const MAX_STDERR_BYTES = 8_192;

export interface UserNetworkOptions {
  readonly ports?: readonly PortForward[] | undefined;
  /** Six bytes in hexadecimal, lower case, with colons; default: one made up. */
  readonly mac?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What most guests are given on this host; the address of the interface is each one's own. */
export function usualGuestNetwork(): Omit<GuestNetwork, "mac"> {
  return guestNetworkOf(chooseGuestSubnet(outwardAddresses()));
}

function guestNetworkOf(subnet: GuestSubnet): Omit<GuestNetwork, "mac"> {
  return {
    mtu: MTU,
    addresses: [`${subnet.address}/${subnet.prefixLength}`],
    gateways: [subnet.gateway],
  };
}

/** @throws NetworkError `network-program-missing`, `no-host-address`, `port-in-use`, … */
export async function startUserNetwork(options: UserNetworkOptions = {}): Promise<Network> {
  const program = await findPasst();
  await using cleanup = new CleanupStack();
  const reserved = await reservePorts(options.ports ?? []);
  const { ports, udp } = reserved;
  cleanup.use(new UdpRelay(udp.map(({ socket, targetPort }) => ({ listener: socket, targetPort }))));
  options.signal?.throwIfAborted();
  const outward = outwardAddresses();
  if (udp.length > 0 && outward.length === 0)
    throw new NetworkError(
      "no-host-address",
      "this host has no IPv4 address besides its loopback's, which published UDP ports need",
      { hint: "connect the host to a network, or publish TCP ports only" },
    );
  const subnet = chooseGuestSubnet(outward);
  const child = spawn(program, passtArguments(subnet, forwardsOf(reserved)), {
    stdio: ["ignore", "ignore", "pipe", "pipe"],
    // Its own process group: Ctrl-C in a terminal is for the container, not for its network.
    detached: true,
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (error) =>
      reject(
        new NetworkError("network-program-missing", `cannot start ${program}: ${messageOf(error)}`, {
          cause: error,
        }),
      ),
    );
  });
  const mac = options.mac ?? randomMac();
  return new UserNetwork({ child, subnet, mac, ports, owned: cleanup.move() });
}

/**
 * Not one address but one interface: what the guest sends from a published port leaves from the same socket of
 * passt, and from one that is bound to 127.0.0.1 it would come to the host's services as if from the host itself.
 */
const RELAY_ADDRESS = "0.0.0.0%lo";

/** What passt forwards: TCP ports as they are published, and the relay's ports of the loopback. */
function forwardsOf({ ports, udp }: ReservedPorts): PortForward[] {
  const targets = new Map(udp.map(({ forward, targetPort }) => [targetPort, forward] as const));
  return [
    ...ports.filter(({ protocol }) => protocol === "tcp"),
    ...[...targets].map(([hostPort, forward]) => ({ ...forward, hostAddress: RELAY_ADDRESS, hostPort })),
  ];
}

/** @throws NetworkError `network-program-missing` */
export async function findPasst(): Promise<string> {
  const program = await findProgram("passt");
  if (program === undefined)
    throw new NetworkError(
      "network-program-missing",
      "passt is not installed, which connects a machine without root",
      {
        hint: "install Debian's package passt, or run with --network none",
      },
    );
  return program;
}

function passtArguments(subnet: GuestSubnet, forwards: readonly PortForward[]): string[] {
  const fixed = [
    ["--foreground", "--quiet", "--stderr", "--fd", String(FRAME_FD)],
    ["--no-map-gw", "--ipv4-only", "--no-dhcp"],
    [
      "--address",
      subnet.address,
      "--netmask",
      String(subnet.prefixLength),
      "--gateway",
      subnet.gateway,
      "--mtu",
      String(MTU),
    ],
  ];
  const published = forwards.map(({ hostAddress, hostPort, containerPort, protocol }) => [
    protocol === "tcp" ? "--tcp-ports" : "--udp-ports",
    `${hostAddress}/${hostPort}:${containerPort}`,
  ]);
  return [...fixed, ...published].flat();
}

/** A random address of the locally administered kind, unicast. */
function randomMac(): string {
  const bytes = randomBytes(3);
  return ["52", "54", "00", ...[...bytes].map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
}

interface UserNetworkParts {
  readonly child: ChildProcess;
  readonly subnet: GuestSubnet;
  readonly mac: string;
  readonly ports: readonly PortForward[];
  /** What ends with the network. */
  readonly owned: AsyncDisposable;
}

class UserNetwork implements Network {
  readonly guest: GuestNetwork;
  readonly ports: readonly PortForward[];
  readonly failed: Promise<NetworkError>;
  readonly #child: ChildProcess;
  readonly #passt: Socket;
  readonly #exited: Promise<void>;
  readonly #owned: AsyncDisposable;
  #disposed = false;

  constructor({ child, subnet, mac, ports, owned }: UserNetworkParts) {
    this.#child = child;
    this.#owned = owned;
    this.ports = ports;
    this.guest = { mac, ...guestNetworkOf(subnet) };
    const passt = child.stdio[FRAME_FD];
    if (!(passt instanceof Socket))
      throw new NetworkError("network-failed", "passt was started without its socket");
    // Nothing is said on it before a VMM is attached, and nothing lost: it is read only from then on.
    passt.pause();
    passt.on("error", () => {});
    this.#passt = passt;
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      if (stderr.length < MAX_STDERR_BYTES) stderr += chunk.toString("latin1");
    });
    this.#exited = new Promise((resolve) => {
      child.once("close", () => resolve());
    });
    this.failed = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        // With 0 it ends when the VMM has closed its socket: that is the machine's end, not the network's failure.
        if (!this.#disposed && code !== 0) resolve(failure(code, signal, stderr));
      });
    });
  }

  attach(frames: Duplex): void {
    // Whoever goes first, VMM or passt: the other sees its socket closed. There is nobody to tell here.
    pipeline(frames, new FrameFilter(), this.#passt, () => this.#passt.destroy());
    pipeline(this.#passt, frames, () => frames.destroy());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#passt.destroy();
    // It ends by itself once the VMM's end is closed too; there is nothing in it that would be lost.
    this.#child.kill("SIGKILL");
    await Promise.all([this.#exited, this.#owned[Symbol.asyncDispose]()]);
  }
}

function failure(code: number | null, signal: string | null, stderr: string): NetworkError {
  const last = lastReason(stderr) ?? `it ended with ${signal ?? `exit code ${code}`}`;
  return new NetworkError("network-failed", `the network program passt gave up: ${last}`, {
    hint: "run with --network none to start without a network",
  });
}

/** What passt says at every start, whatever comes of it. */
const NOISE = [/Don't run as root/i, /to syslog/i];

/** The last line of passt's stderr that can be a reason. */
export function lastReason(stderr: string): string | undefined {
  return stderr
    .split("\n")
    .map((line) => line.trim())
    .findLast((line) => line !== "" && !NOISE.some((noise) => noise.test(line)));
}
