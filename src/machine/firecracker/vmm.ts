/**
 * Firecracker as a process, in a directory of its own. It is killed by the kernel when this process dies; what is
 * left in the file system then, the next machine's start removes.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { FlameBoxError, messageOf } from "../../util/error.ts";
import { ownedName } from "../../util/owned-folder.ts";
import { enclosedCommand } from "../enclosure.ts";
import type {
  Diagnostics,
  MachineConfig,
  MachineExit,
  NetworkAttachment,
  RestoredMachine,
  StartOptions,
} from "../machine.ts";
import { AGENT_PORT, MachineError } from "../machine.ts";
import type { Place } from "../place.ts";
import { enclosedProgram } from "../processes.ts";
import { TailBuffer } from "../tail-buffer.ts";
import { ApiClient } from "./api/client.ts";
import { patchDrive } from "./api/drive.ts";
import { LEAST_FILE_BYTES, MOST_FILES } from "./bounds.ts";
import { getVersion } from "./api/version.ts";
import { connectToGuest } from "./api/vsock.ts";
import { DialledStream } from "./dialled-stream.ts";
import type { JailerOptions } from "./jailer.ts";
import type { MetricsPipe } from "./metrics.ts";
import { openMetrics } from "./metrics.ts";
import { Output } from "./output.ts";
import { makePlace } from "./place.ts";
import type { FirecrackerTuning } from "./tuning.ts";
import { tuneVmm } from "./tuning.ts";
import type { FirecrackerVersion } from "./version.ts";
import { FIRECRACKER_HINT, requireSupported } from "./version.ts";

const STDERR_BYTES = 16 * 1024;
/** The program has its socket within milliseconds; a busy host may let it wait. */
const API_DEADLINE_MS = 30_000;
const API_POLL_MS = 2;

/** Names in the VMM's directory. */
const API_SOCKET = "api.sock";
export const VSOCK_SOCKET = "v.sock";

/** The same in every VMM's namespace, so that a restored machine finds the one that it was saved with. */
export const TAP_DEVICE = "fb0";
const FRAMES_FD = 3;

export const BASE_DRIVE = "base";
export const SCRATCH_DRIVE = "scratch";

export interface FirecrackerOptions {
  /** Absolute path of the program. */
  readonly program: string;
  /** Where running machines have their sockets. */
  readonly runtimeDir: string;
  /**
   * Absolute path of the agent's program, which also encloses a VMM, and puts a tap device between it and a stream of
   * frames; machines cannot have a network without.
   */
  readonly helper?: string | undefined;
  /** Where this process is root, and the jailer is there: each VMM is in a jail. */
  readonly jailer?: JailerOptions | undefined;
  readonly tuning?: FirecrackerTuning | undefined;
}

export interface SpawnOptions extends StartOptions {
  readonly hasNetwork: boolean;
  /** CPUs of the host that its threads may run on; undefined is any. */
  readonly hostCpus?: readonly number[] | undefined;
  /** The largest file that it will write. */
  readonly mostFileBytes: number;
}

interface Start {
  readonly place: Place;
  readonly command: readonly string[];
  readonly uid: number;
  readonly isJailed: boolean;
  readonly dispose: () => Promise<void>;
}

/** A VMM that answers, and has no machine yet. @throws MachineError `vmm-missing`, `vmm-failed`; the signal's reason */
export async function spawnFirecracker(
  options: FirecrackerOptions,
  { hasNetwork, hostCpus, mostFileBytes, signal }: SpawnOptions,
): Promise<FirecrackerMachine> {
  signal?.throwIfAborted();
  // Which no guest can guess (output.ts), and of letters, digits and hyphens.
  const id = ownedName("fb").replaceAll(".", "-");
  const { command, uid, isJailed, place, dispose } = await prepareStart(options, id, mostFileBytes);
  try {
    const [file = "", ...args] = await enclosedCommand(
      [...command, ...(isJailed ? [] : ["--id", id]), "--api-sock", API_SOCKET, "--level", "Warning"],
      {
        helper: options.helper,
        hostCpus,
        tap: hasNetwork ? { name: TAP_DEVICE, uid } : undefined,
        strict: isJailed,
        changesUser: isJailed ? "contained" : undefined,
        // The jailer sets its own.
        ...(!isJailed && { mostFiles: MOST_FILES, mostFileBytes: Math.max(mostFileBytes, LEAST_FILE_BYTES) }),
      },
    );
    const child = spawn(file, args, {
      cwd: isJailed ? "/" : place.dir,
      env: {},
      stdio: ["ignore", "pipe", "pipe", hasNetwork ? "pipe" : "ignore"],
      // Its own process group: Ctrl-C in a terminal is for the container, not for its machine.
      detached: true,
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(missing(file, error)));
    });
    const { tuning = {} } = options;
    return await FirecrackerMachine.of(child, { place, id, dispose, tuning }, signal);
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function prepareStart(options: FirecrackerOptions, id: string, mostFileBytes: number): Promise<Start> {
  const { program, jailer, runtimeDir } = options;
  if (jailer === undefined) {
    const place = await makePlace(runtimeDir);
    const dispose = async () => await place[Symbol.asyncDispose]();
    return { place, command: [program], uid: process.geteuid?.() ?? 0, isJailed: false, dispose };
  }
  const { jailFirecracker } = await import("./jailer.ts");
  const { jail, command, dispose } = await jailFirecracker(jailer, { program, id, mostFileBytes });
  return { place: jail, command, uid: jail.user.uid, isJailed: true, dispose };
}

function missing(file: string, error: Error): MachineError {
  const message = `cannot start ${file}: ${messageOf(error)}`;
  return new MachineError("vmm-missing", message, { hint: FIRECRACKER_HINT, cause: error });
}

interface Surroundings {
  readonly place: Place;
  readonly id: string;
  /** What it takes up on the host. */
  readonly dispose: () => Promise<void>;
  readonly tuning: FirecrackerTuning;
}

export class FirecrackerMachine implements RestoredMachine {
  readonly description = "firecracker (kvm)";
  readonly exited: Promise<MachineExit>;
  readonly api: ApiClient;
  readonly place: Place;
  readonly tuning: FirecrackerTuning;
  readonly #child: ChildProcess;
  readonly #output: Output;
  readonly #stderr = new TailBuffer(STDERR_BYTES);
  #pid: number;
  #version: FirecrackerVersion | undefined;
  #metrics: MetricsPipe | undefined;
  #stream: Duplex | undefined;
  #ended = false;

  private constructor(child: ChildProcess, { place, id, dispose, tuning }: Surroundings) {
    if (child.pid === undefined) throw new MachineError("vmm-missing", "the VMM has no process id");
    this.#pid = child.pid;
    this.place = place;
    this.tuning = tuning;
    this.#child = child;
    this.#output = new Output(id);
    this.api = new ApiClient(place.reach(API_SOCKET));
    child.stdout?.on("data", (chunk: Buffer) => this.#output.write(chunk));
    child.stderr?.on("data", (chunk: Buffer) => this.#stderr.write(chunk));
    this.exited = new Promise<MachineExit>((resolve) => {
      child.once("close", (code, signal) => {
        this.#ended = true;
        resolve({ code, signal });
      });
    }).then(async (exit) => {
      this.api.close();
      await this.#metrics?.[Symbol.asyncDispose]();
      // A dialled stream that has no connection yet would wait for ever.
      this.#stream?.destroy();
      await dispose();
      return exit;
    });
  }

  /**
   * The whole VMM is halted, and not its vCPUs by the API: a machine that the API lets go on has a vsock device, in
   * Firecracker 1.16, that waits for the guest to confirm a reset that it was not told of, so that the agent's stream
   * stands still for ever. https://github.com/firecracker-microvm/firecracker/pull/6100
   */
  readonly pausing = {
    pause: async (): Promise<void> => this.#signal("SIGSTOP"),
    resume: async (): Promise<void> => this.#signal("SIGCONT"),
  };

  #signal(name: "SIGSTOP" | "SIGCONT"): void {
    if (this.#ended) throw new MachineError("machine-lost", "the machine has ended");
    process.kill(this.#pid, name);
  }

  /** One that answers. @throws MachineError `vmm-failed`; the signal's reason */
  static async of(
    child: ChildProcess,
    surroundings: Surroundings,
    signal: AbortSignal | undefined,
  ): Promise<FirecrackerMachine> {
    const machine = new FirecrackerMachine(child, surroundings);
    try {
      machine.#version = await machine.#answers(signal);
      await machine.#tune();
      machine.#pid = await enclosedProgram(machine.#pid);
      return machine;
    } catch (error) {
      await machine.kill();
      throw error;
    }
  }

  get pid(): number {
    return this.#pid;
  }

  /** @throws MachineError `firecracker-version` before it has answered */
  get version(): FirecrackerVersion {
    if (this.#version === undefined)
      throw new MachineError("firecracker-version", "Firecracker has not said which version it is");
    return this.#version;
  }

  /** Most machines have nothing of it. */
  async #tune(): Promise<void> {
    const { logLevel, limits, metrics = false } = this.tuning;
    if (logLevel === undefined && limits?.console === undefined && !metrics) return;
    await tuneVmm(this.api, this.version, this.tuning);
    if (metrics) this.#metrics = await openMetrics(this.api, this.place);
  }

  /** What Firecracker counts, where `tuning` asked for it: an object, unchecked. @throws MachineError `metrics-refused` */
  async metrics(): Promise<unknown> {
    if (this.#metrics === undefined)
      throw new MachineError("metrics-refused", "this machine was started without metrics");
    return await this.#metrics.read(this.api);
  }

  /** Waits until the API answers, and sees that FlameBox can use what answers. */
  async #answers(signal: AbortSignal | undefined): Promise<FirecrackerVersion> {
    const deadline = performance.now() + API_DEADLINE_MS;
    for (;;) {
      signal?.throwIfAborted();
      try {
        const version = await getVersion(this.api);
        requireSupported(version);
        return version;
      } catch (error) {
        const isEarly = error instanceof FlameBoxError && error.code === "firecracker-lost";
        if (!isEarly) throw error;
        if (this.#ended || performance.now() > deadline) throw await this.#failure(error);
      }
      await sleep(API_POLL_MS, undefined, { signal });
    }
  }

  async #failure(cause: unknown): Promise<MachineError> {
    const { code, signal } = this.#ended ? await this.exited : { code: null, signal: null };
    const how = this.#ended ? `ended with ${signal ?? `exit code ${code}`}` : "did not open its API";
    const { stderr } = this.diagnostics();
    return new MachineError("vmm-failed", `Firecracker ${how}: ${stderr.trim().slice(-2_000)}`, { cause });
  }

  async dial(port: number): Promise<Duplex> {
    if (port !== AGENT_PORT || this.#stream !== undefined)
      throw new MachineError(
        "no-such-port",
        `this machine has one stream, on port ${AGENT_PORT}, and it is taken`,
      );
    const path = this.place.reach(VSOCK_SOCKET);
    this.#stream = new DialledStream(async (signal) => await connectToGuest(path, port, signal));
    // A stream of a killed VMM may end with an error; `exited` is where that is told.
    this.#stream.on("error", () => {});
    if (this.#ended) this.#stream.destroy();
    return this.#stream;
  }

  async attachDisks({ base, scratch }: MachineConfig["disks"]): Promise<void> {
    if (base)
      await patchDrive(this.api, { drive_id: BASE_DRIVE, path_on_host: await this.place.lend(base.path) });
    if (scratch)
      await patchDrive(this.api, {
        drive_id: SCRATCH_DRIVE,
        path_on_host: await this.place.give(scratch.path),
      });
  }

  attachNetwork(network: NetworkAttachment): void {
    const frames: unknown = this.#child.stdio[FRAMES_FD];
    if (!(frames instanceof Duplex))
      throw new MachineError("network-refused", "this machine has no network interface");
    network.attach(frames);
  }

  async kill(): Promise<void> {
    // Nothing of it is to be kept, so it is not asked first.
    if (!this.#ended) this.#child.kill("SIGKILL");
    await this.exited;
  }

  diagnostics(): Diagnostics {
    const log = this.#output.log();
    return { console: this.#output.console(), stderr: `${this.#stderr.toString()}${log}` };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
