/**
 * Networking without root: `passt` turns the guest's Ethernet frames into ordinary sockets of this user.
 * https://passt.top/passt/about/
 *
 * `--no-map-gw` keeps the host's loopback out of the guest's reach: without it the gateway's address stands
 * for the host. The guest's addresses are fixed and set by the agent, so passt need not announce any.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { Socket } from "node:net";
import { messageOf } from "../util/error.ts";
import { findProgram } from "../util/find-program.ts";
import type { GuestNetwork, Network, PortForward } from "./network.ts";
import { NetworkError } from "./network.ts";
import { reservePorts } from "./ports.ts";

const GUEST_ADDRESS = "10.0.2.15";
const PREFIX_LENGTH = 24;
const GATEWAY = "10.0.2.2";
const MTU = 65_520;
/** passt numbers it: the first descriptor behind stdin, stdout, stderr. */
const FRAME_FD = 3;
const MAX_STDERR_BYTES = 8_192;

export interface UserNetworkOptions {
  readonly ports?: readonly PortForward[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws NetworkError `network-program-missing`, `port-in-use`, … */
export async function startUserNetwork(options: UserNetworkOptions = {}): Promise<Network> {
  const program = await findPasst();
  const ports = await reservePorts(options.ports ?? []);
  options.signal?.throwIfAborted();
  const child = spawn(program, passtArguments(ports), {
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
  return new UserNetwork(child, ports);
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

function passtArguments(ports: readonly PortForward[]): string[] {
  const fixed = [
    ["--foreground", "--quiet", "--stderr", "--fd", String(FRAME_FD)],
    ["--no-map-gw", "--ipv4-only", "--no-dhcp"],
    [
      "--address",
      GUEST_ADDRESS,
      "--netmask",
      String(PREFIX_LENGTH),
      "--gateway",
      GATEWAY,
      "--mtu",
      String(MTU),
    ],
  ];
  const forwards = ports.map(({ hostAddress, hostPort, containerPort, protocol }) => [
    protocol === "tcp" ? "--tcp-ports" : "--udp-ports",
    `${hostAddress}/${hostPort}:${containerPort}`,
  ]);
  return [...fixed, ...forwards].flat();
}

/** A random address of the locally administered kind, unicast. */
function randomMac(): string {
  const bytes = randomBytes(3);
  return ["52", "54", "00", ...[...bytes].map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
}

class UserNetwork implements Network {
  readonly guest: GuestNetwork = {
    mac: randomMac(),
    mtu: MTU,
    addresses: [`${GUEST_ADDRESS}/${PREFIX_LENGTH}`],
    gateways: [GATEWAY],
  };
  readonly ports: readonly PortForward[];
  readonly connection: Socket;
  readonly failed: Promise<NetworkError>;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #disposed = false;

  constructor(child: ChildProcess, ports: readonly PortForward[]) {
    this.#child = child;
    this.ports = ports;
    const connection = child.stdio[FRAME_FD];
    if (!(connection instanceof Socket))
      throw new NetworkError("network-failed", "passt was started without its socket");
    // Frames are for the VMM alone; this process only carries the descriptor from one child to the other.
    connection.pause();
    connection.on("error", () => {});
    this.connection = connection;
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

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.connection.destroy();
    // It ends by itself once the VMM's end is closed too; there is nothing in it that would be lost.
    this.#child.kill("SIGKILL");
    await this.#exited;
  }
}

function failure(code: number | null, signal: string | null, stderr: string): NetworkError {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !line.includes("to syslog"));
  const last = lines.at(-1) ?? `it ended with ${signal ?? `exit code ${code}`}`;
  return new NetworkError("network-failed", `the network program passt gave up: ${last}`, {
    hint: "run with --network none to start without a network",
  });
}
