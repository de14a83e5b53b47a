/**
 * QEMU as a process. It is started with three inherited socket pairs (monitor, agent, console) and ends with this
 * process. Nothing of it is left in the file system, but for the jail that root gives it, which is removed.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { Duplex } from "node:stream";
import { object, safeParse, string } from "valibot";
import { messageOf } from "../../util/error.ts";
import { findProgram } from "../../util/find-program.ts";
import { enclosedCommand } from "../enclosure.ts";
import type { Jail } from "../jail/jail.ts";
import type {
  Diagnostics,
  MachineConfig,
  MachineExit,
  NetworkAttachment,
  RestoredMachine,
  StartOptions,
} from "../machine.ts";
import { AGENT_PORT, MachineError } from "../machine.ts";
import { TailBuffer } from "../tail-buffer.ts";
import type { Acceleration } from "./arguments.ts";
import {
  AGENT_FD,
  BASE_DEVICE,
  CONSOLE_FD,
  NETWORK_FD,
  QMP_FD,
  SCRATCH_DEVICE,
  baseNode,
  scratchNode,
} from "./arguments.ts";
import type { QemuVersion } from "./confinement.ts";
import { jailArguments, sandboxArguments } from "./confinement.ts";
import { QmpClient } from "./qmp.ts";

const CONSOLE_BYTES = 64 * 1024;
const STDERR_BYTES = 16 * 1024;

export const QEMU_PROGRAM = "qemu-system-x86_64";
export const QEMU_HINT = "install Debian's package qemu-system-x86";

export interface QemuOptions {
  readonly acceleration: Acceleration;
  /** QEMU's name of the processor, with what is added to and taken from it; default: all that there is. */
  readonly processor?: string | undefined;
  /** Absolute path of the program; default: found as a shell would. */
  readonly program?: string | undefined;
  /** Absolute path of the agent's program, which encloses a VMM in namespaces of its own. */
  readonly helper?: string | undefined;
  /** Where this process is root: each VMM is in a jail. Takes the helper. */
  readonly jail?: QemuJail | undefined;
}

export interface QemuJail {
  /** Where the jails are made. */
  readonly dataDir: string;
  /** The program's. */
  readonly version: QemuVersion;
}

/** https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html#qapidoc-RunState */
const stuckStates = new Map([
  ["internal-error", "KVM cannot carry out what the guest does"],
  ["io-error", "a disk of the machine cannot be read or written on this host, which may be full"],
  ["guest-panicked", "the guest's kernel panicked"],
]);
const runState = object({ status: string() });

/** @throws MachineError `vmm-missing` */
export async function findQemu(): Promise<string> {
  const program = await findProgram(QEMU_PROGRAM);
  if (program === undefined)
    throw new MachineError("vmm-missing", `QEMU is not installed (no ${QEMU_PROGRAM})`, { hint: QEMU_HINT });
  return program;
}

export interface SpawnOptions extends StartOptions {
  readonly hasNetwork: boolean;
  /** An open file of this process that the VMM gets as its descriptor STATE_FD. */
  readonly stateFd?: number | undefined;
  /** CPUs of the host that its threads may run on; undefined is any. */
  readonly hostCpus?: readonly number[] | undefined;
  /** The largest file that it will write. */
  readonly mostFileBytes: number;
}

/** A VMM has its sockets open, and a file or two for each layer of an image, of which there are at most 127. */
const MOST_FILES = 1_024;
/** qcow2's tables, beside what they are about. */
const OVERHEAD_BYTES = 64 * 2 ** 20;

/** @throws MachineError `vmm-missing`; the signal's reason */
export async function spawnQemu(
  options: QemuOptions,
  qemuArgs: readonly string[],
  { hasNetwork, stateFd, hostCpus, mostFileBytes, signal }: SpawnOptions,
): Promise<QemuMachine> {
  const program = options.program ?? (await findQemu());
  signal?.throwIfAborted();
  const jail = options.jail === undefined ? undefined : await makeJailOf(options.jail);
  try {
    const own =
      jail === undefined || options.jail === undefined ? [] : jailArguments(jail, options.jail.version);
    const sandbox = sandboxArguments({ isJailed: jail !== undefined });
    const [file = program, ...args] = await enclosedCommand([program, ...qemuArgs, ...sandbox, ...own], {
      helper: options.helper,
      hostCpus,
      mostFiles: MOST_FILES,
      mostFileBytes: Math.ceil(mostFileBytes * 1.01) + OVERHEAD_BYTES,
      changesUser: jail === undefined ? undefined : "watched",
    });
    const network = hasNetwork ? "pipe" : "ignore";
    const child = spawn(file, args, {
      // What the environment of this process has in it is not the VMM's business.
      env: {},
      stdio: [
        "ignore",
        "ignore",
        "pipe",
        "pipe",
        "pipe",
        "pipe",
        network,
        ...(stateFd === undefined ? [] : [stateFd]),
      ],
      // Its own process group: Ctrl-C in a terminal is for the container, not for its machine.
      detached: true,
    });
    await begun(child, file);
    const machine = new QemuMachine(child, options.acceleration, jail);
    if (signal?.aborted === true) {
      await machine.kill();
      signal.throwIfAborted();
    }
    return machine;
  } catch (error) {
    await jail?.[Symbol.asyncDispose]();
    throw error;
  }
}

/** Loaded where it is used: most users are not root. */
async function makeJailOf({ dataDir }: QemuJail): Promise<Jail> {
  const { makeJail } = await import("./jailing.ts");
  return await makeJail(dataDir);
}

async function begun(child: ChildProcess, file: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) => {
      const message = `cannot start ${file}: ${messageOf(cause)}`;
      reject(new MachineError("vmm-missing", message, { hint: QEMU_HINT, cause }));
    });
  });
}

export class QemuMachine implements RestoredMachine {
  readonly description: string;
  readonly pid: number;
  readonly exited: Promise<MachineExit>;
  readonly #child: ChildProcess;
  readonly #console = new TailBuffer(CONSOLE_BYTES);
  readonly #stderr = new TailBuffer(STDERR_BYTES);
  readonly #agent: Duplex;
  readonly #qmp: QmpClient;
  readonly #jail: Jail | undefined;
  #dialled = false;
  #ended = false;

  constructor(child: ChildProcess, acceleration: Acceleration, jail: Jail | undefined) {
    this.#child = child;
    this.#jail = jail;
    this.description = acceleration === "kvm" ? "qemu (kvm)" : "qemu (software emulation)";
    if (child.pid === undefined) throw new MachineError("vmm-missing", "the VMM has no process id");
    this.pid = child.pid;
    this.exited = new Promise<MachineExit>((resolve) => {
      child.once("close", (code, signal) => {
        this.#ended = true;
        resolve({ code, signal });
      });
    }).then(async (exit) => {
      await jail?.[Symbol.asyncDispose]();
      return exit;
    });
    child.stderr?.on("data", (chunk: Buffer) => this.#stderr.write(chunk));
    const console = inherited(child, CONSOLE_FD);
    console.on("data", (chunk: Buffer) => this.#console.write(chunk));
    // A socket pair of a killed VMM ends with an error; `exited` is where that is told.
    console.on("error", () => {});
    this.#agent = inherited(child, AGENT_FD);
    this.#agent.on("error", () => {});
    this.#qmp = new QmpClient(inherited(child, QMP_FD), ({ event }) => {
      if (event === "STOP") void this.#endIfStuck();
    });
  }

  /**
   * QEMU halts a machine that it cannot go on with, and stays; nobody would ever hear of it again. One that was paused
   * on purpose has another state.
   */
  async #endIfStuck(): Promise<void> {
    const state = safeParse(runState, await this.execute("query-status").catch(() => undefined));
    const stuck = state.success ? stuckStates.get(state.output.status) : undefined;
    if (stuck === undefined) return;
    this.note(`error: ${stuck}`);
    await this.kill();
  }

  async dial(port: number): Promise<Duplex> {
    if (port !== AGENT_PORT || this.#dialled)
      throw new MachineError(
        "no-such-port",
        `this machine has one stream, on port ${AGENT_PORT}, and it is taken`,
      );
    this.#dialled = true;
    return this.#agent;
  }

  /** Adds to the VMM's own complaints. */
  note(complaint: string): void {
    this.#stderr.write(Buffer.from(`${complaint}\n`));
  }

  /** Runs a monitor command; for templates and tests. */
  async execute(command: string, args?: object): Promise<unknown> {
    return await this.#qmp.execute(command, args);
  }

  attachNetwork(network: NetworkAttachment): void {
    network.attach(inherited(this.#child, NETWORK_FD));
  }

  /** All that it sees of the host's files, where it is in one. */
  get jail(): Jail | undefined {
    return this.#jail;
  }

  async attachDisks(disks: MachineConfig["disks"]): Promise<void> {
    const { base, scratch } = this.#jail === undefined ? disks : await inJail(this.#jail, disks);
    const behind = async (device: string, node: object, name: string) => {
      // The monitor carries them out in order, so nothing is gained by waiting between the two.
      await Promise.all([
        this.execute("blockdev-add", node),
        this.execute("qom-set", { path: `/machine/peripheral/${device}`, property: "drive", value: name }),
      ]);
    };
    await Promise.all([
      base && behind(BASE_DEVICE, baseNode(base), "base"),
      scratch && behind(SCRATCH_DEVICE, scratchNode(scratch), "scratch"),
    ]);
  }

  readonly pausing = {
    pause: async (): Promise<void> => void (await this.execute("stop")),
    resume: async (): Promise<void> => void (await this.execute("cont")),
  };

  async kill(): Promise<void> {
    // Not asked first: it has nothing to put in order. What its disks were for ends with it.
    if (!this.#ended) this.#child.kill("SIGKILL");
    await this.exited;
  }

  diagnostics(): Diagnostics {
    return { console: this.#console.toString(), stderr: this.#stderr.toString() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

async function inJail(jail: Jail, disks: MachineConfig["disks"]): Promise<MachineConfig["disks"]> {
  const { placeDisks } = await import("./jailing.ts");
  return await placeDisks(jail, disks);
}

function inherited(child: ChildProcess, fd: number): Duplex {
  const stream: unknown = child.stdio[fd];
  if (!(stream instanceof Duplex))
    throw new MachineError("vmm-missing", `the VMM was started without descriptor ${fd}`);
  return stream;
}
