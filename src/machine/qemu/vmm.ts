/**
 * QEMU as a process. It is started with three inherited socket pairs (monitor, agent, console); it is killed
 * by the kernel when this process dies, and nothing of it is left in the file system.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { Duplex } from "node:stream";
import { messageOf } from "../../util/error.ts";
import { findProgram } from "../../util/find-program.ts";
import { boundCommand } from "../command.ts";
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
}

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
}

/** @throws MachineError `vmm-missing`; the signal's reason */
export async function spawnQemu(
  { acceleration, program: given }: QemuOptions,
  qemuArgs: readonly string[],
  { hasNetwork, stateFd, hostCpus, signal }: SpawnOptions,
): Promise<QemuMachine> {
  const program = given ?? (await findQemu());
  const [file = program, ...args] = await boundCommand([program, ...qemuArgs], hostCpus);
  signal?.throwIfAborted();
  const network = hasNetwork ? "pipe" : "ignore";
  const state = stateFd === undefined ? [] : [stateFd];
  const child = spawn(file, args, {
    stdio: ["ignore", "ignore", "pipe", "pipe", "pipe", "pipe", network, ...state],
    // Its own process group: Ctrl-C in a terminal is for the container, not for its machine.
    detached: true,
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (error) =>
      reject(
        new MachineError("vmm-missing", `cannot start ${file}: ${messageOf(error)}`, {
          hint: QEMU_HINT,
          cause: error,
        }),
      ),
    );
  });
  const machine = new QemuMachine(child, acceleration);
  if (signal?.aborted === true) {
    await machine.kill();
    signal.throwIfAborted();
  }
  return machine;
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
  #dialled = false;
  #ended = false;

  constructor(child: ChildProcess, acceleration: Acceleration) {
    this.#child = child;
    this.description = acceleration === "kvm" ? "qemu (kvm)" : "qemu (software emulation)";
    if (child.pid === undefined) throw new MachineError("vmm-missing", "the VMM has no process id");
    this.pid = child.pid;
    this.exited = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        this.#ended = true;
        resolve({ code, signal });
      });
    });
    child.stderr?.on("data", (chunk: Buffer) => this.#stderr.write(chunk));
    const console = inherited(child, CONSOLE_FD);
    console.on("data", (chunk: Buffer) => this.#console.write(chunk));
    // A socket pair of a killed VMM ends with an error; `exited` is where that is told.
    console.on("error", () => {});
    this.#agent = inherited(child, AGENT_FD);
    this.#agent.on("error", () => {});
    this.#qmp = new QmpClient(inherited(child, QMP_FD));
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

  async attachDisks({ base, scratch }: MachineConfig["disks"]): Promise<void> {
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

function inherited(child: ChildProcess, fd: number): Duplex {
  const stream: unknown = child.stdio[fd];
  if (!(stream instanceof Duplex))
    throw new MachineError("vmm-missing", `the VMM was started without descriptor ${fd}`);
  return stream;
}
