/**
 * The program `passt`, which turns Ethernet frames into ordinary sockets of this user. https://passt.top/passt/about/
 *
 * The guest's addresses are fixed and set by the agent, so passt need not announce any. What it is given has passed
 * frames/path.ts.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { isIP, Socket } from "node:net";
import { readFile } from "node:fs/promises";
import { messageOf } from "../util/error.ts";
import { findProgram } from "../util/find-program.ts";
import type { GuestSubnet } from "./host-address.ts";
import type { PortForward } from "./network.ts";
import { NetworkError } from "./network.ts";

export const MTU = 65_520;
/** passt numbers it: the first descriptor behind stdin, stdout, stderr. */
const FRAME_FD = 3;
const MAX_STDERR_BYTES = 8_192;

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

/**
 * Makes the socket's buffer as large as the host lets, and becomes passt: what the buffer does not take, passt loses
 * (frames/connections.ts), and Node has no call for it. perl is in every Debian.
 */
const RAISE_BUFFER =
  'BEGIN { $^F = 9 } open(my $s, "+<&=", 3); setsockopt($s, 1, 7, pack("i", shift)); exec { $ARGV[0] } @ARGV; die "$ARGV[0]: $!\\n"';
const WANTED_BUFFER_BYTES = 4 * 1024 * 1024;
const DEFAULT_BUFFER_BYTES = 212_992;
/** Of a buffer, what is left for frames beside what the kernel needs for itself. */
const FRAMES_SHARE = 0.9;

/** What it takes to start passt, found once. */
export interface PasstProgram {
  readonly passt: string;
  /** Undefined: the buffer is left as it is. */
  readonly perl: string | undefined;
  /** So much of frames fits the socket at any time. */
  readonly bufferBytes: number;
}

/** @throws NetworkError `network-program-missing` */
export async function findPasstProgram(): Promise<PasstProgram> {
  const [passt, perl, text] = await Promise.all([
    findPasst(),
    findProgram("perl"),
    readFile("/proc/sys/net/core/wmem_max", "latin1").catch(() => ""),
  ]);
  const most = Number.parseInt(text, 10);
  // The kernel doubles what is asked for, for its own needs.
  const raised = 2 * Math.min(WANTED_BUFFER_BYTES, Number.isSafeInteger(most) ? most : 0);
  const isRaised = perl !== undefined && raised > DEFAULT_BUFFER_BYTES;
  const bufferBytes = Math.floor((isRaised ? raised : DEFAULT_BUFFER_BYTES) * FRAMES_SHARE);
  return { passt, perl: isRaised ? perl : undefined, bufferBytes };
}

export interface PasstOptions {
  readonly subnet: GuestSubnet;
  readonly forwards: readonly PortForward[];
  /** Whether the gateway's address stands for the host's loopback. */
  readonly hostGateway: boolean;
}

export function passtArguments({ subnet, forwards, hostGateway }: PasstOptions): string[] {
  const { address, prefixLength, gateway, ipv6 } = subnet;
  const fixed = [
    ["--foreground", "--quiet", "--stderr", "--fd", String(FRAME_FD)],
    ["--no-dhcp", "--no-dhcpv6", "--no-ra", "--mtu", String(MTU)],
    // Without it, the gateway's address stands for the host.
    hostGateway ? [] : ["--no-map-gw"],
    ["--address", address, "--netmask", String(prefixLength), "--gateway", gateway],
    ipv6 === undefined ? ["--ipv4-only"] : ["--address", ipv6.address, "--gateway", ipv6.gateway],
  ];
  const published = forwards.map(({ hostAddress, hostPort, containerPort, protocol }) => [
    protocol === "tcp" ? "--tcp-ports" : "--udp-ports",
    `${hostAddress}/${hostPort}:${containerPort}`,
  ]);
  return [...fixed, ...published].flat();
}

/** Whether a host's address can be published on by a guest that has only IPv4. */
export function needsIpv6(forward: PortForward): boolean {
  return forward.protocol === "tcp" && isIP(forward.hostAddress) === 6;
}

export class Passt implements AsyncDisposable {
  /** Frames, each behind its length. */
  readonly frames: Socket;
  readonly pid: number | undefined;
  /** Resolves when it has ended: with the reason when it was not disposed, and it was not because the machine ended. */
  readonly ended: Promise<NetworkError | undefined>;
  /** @throws NetworkError `network-program-missing` */
  readonly started: Promise<void>;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #disposed = false;

  /** @throws NetworkError `network-failed` */
  constructor({ passt: program, perl }: PasstProgram, options: PasstOptions) {
    const words = passtArguments(options);
    const raising = ["-e", RAISE_BUFFER, String(WANTED_BUFFER_BYTES), program, ...words];
    const child = spawn(perl ?? program, perl === undefined ? words : raising, {
      stdio: ["ignore", "ignore", "pipe", "pipe"],
      // Its own process group: Ctrl-C in a terminal is for the container, not for its network.
      detached: true,
    });
    this.#child = child;
    this.pid = child.pid;
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      if (stderr.length < MAX_STDERR_BYTES) stderr += chunk.toString("latin1");
    });
    const refused = new Promise<NetworkError>((resolve) => {
      child.once("error", (error) => resolve(missing(program, error)));
    });
    this.started = Promise.race([
      new Promise<void>((resolve) => child.once("spawn", resolve)),
      refused.then((error) => Promise.reject(error)),
    ]);
    this.started.catch(() => {});
    this.#exited = new Promise((resolve) => {
      child.once("close", () => resolve());
      child.once("error", () => child.pid === undefined && resolve());
    });
    this.ended = new Promise((resolve) => {
      void refused.then(resolve);
      child.once("close", (code, signal) => {
        // With 0 it ends when its socket was closed: that is the machine's end, not the network's failure.
        resolve(this.#disposed || code === 0 ? undefined : failure(code, signal, stderr));
      });
    });
    // Undefined where no process could be made.
    const frames = (child.stdio as ChildProcess["stdio"] | undefined)?.[FRAME_FD];
    if (!(frames instanceof Socket))
      throw new NetworkError("network-failed", "passt was started without its socket");
    frames.on("error", () => {});
    this.frames = frames;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.frames.destroy();
    // It ends by itself once the VMM's end is closed too; there is nothing in it that would be lost.
    this.#child.kill("SIGKILL");
    await this.#exited;
  }
}

function missing(program: string, cause: unknown): NetworkError {
  const message = `cannot start ${program}: ${messageOf(cause)}`;
  return new NetworkError("network-program-missing", message, { cause });
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
