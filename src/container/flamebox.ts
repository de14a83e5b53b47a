/**
 * A container as an object, for programs that run other people's code: made ready, executed into as often as wanted, and
 * gone with the block that made it.
 *
 *     await using box = await FlameBox.create("python:3");
 *     await box.files.write("/app/main.py", "print(6 * 7)");
 *     const { exitCode, stdout } = await box.exec("python3 /app/main.py");
 *
 * Or of one that lives by itself, and goes on: `FlameBox.connect("web")`.
 */
import type { Readable } from "node:stream";
import { unlessAborted } from "../util/abort.ts";
import { FlameBoxError } from "../util/error.ts";
import type { ConnectedFlameBox } from "./connected.ts";
import type { Change, ContainerProcess, ContentsOptions } from "./contents.ts";
import { ContainerFiles } from "./container-files.ts";
import type { ListableContents } from "./container-files.ts";
import type { ExecOptions, ExecProcess } from "./exec.ts";
import type { CreateOptions } from "./lifecycle/create.ts";
import type { ContainerInfo } from "./lifecycle/info.ts";
import type { ListContainersOptions } from "./lifecycle/verbs.ts";
import type {
  ContainerExit,
  ContainerOptions,
  ContainerStatistics,
  Health,
  OperationOptions,
  PortMapping,
} from "./options.ts";
import { OutputLog } from "./output-log.ts";
import type { OutputEvent, OutputLogOptions } from "./output-log.ts";
import type { Container } from "./running.ts";
import { startContainerOf } from "./start.ts";

/**
 * Without a command, its first process does nothing, and the container is there until it is stopped; with `idle: false`
 * it is the image's own.
 */
export interface FlameBoxOptions extends Omit<ContainerOptions, "onHealth"> {
  /** How much of what the first process says is kept for `logs`: its last bytes; default 1 MiB. */
  readonly maxLogBytes?: number | undefined;
}

/** Of a container that lives by itself: as `FlameBoxOptions`, with what a container that stays has besides. */
export interface DetachedFlameBoxOptions extends Omit<CreateOptions, "onHealth" | "onRefused"> {}

/** Those that run; with `all`, or a filter that means others, these too. */
export interface ListFlameBoxesOptions extends ListContainersOptions {}

/** A container that is here. */
export interface ListedFlameBox extends ContainerInfo {
  /** As `FlameBox.connect` with its id. */
  connect(options?: Pick<OperationOptions, "signal">): Promise<ConnectedFlameBox>;
}

/** What a box is of: a container of this process's, or one that another process runs. */
export interface Boxed extends AsyncDisposable {
  readonly id: string;
  readonly name: string | undefined;
  readonly machine: string;
  readonly ports: readonly Required<PortMapping>[];
  readonly health: Health | undefined;
  readonly contents: ListableContents & { processes(): Promise<readonly ContainerProcess[]> };
  exec(command: readonly string[], options: ExecOptions): Promise<ExecProcess>;
  stats(): Promise<ContainerStatistics>;
  pause(): Promise<void>;
  unpause(): Promise<void>;
  wait(options: { readonly signal?: AbortSignal | undefined }): Promise<ContainerExit>;
  kill(signal: number): Promise<void>;
  stop(options: {
    readonly signal?: string | number | undefined;
    readonly timeoutMs?: number | undefined;
  }): Promise<ContainerExit>;
}

/** What its first process says. */
export interface BoxedOutput {
  read(options: OutputLogOptions): AsyncGenerator<OutputEvent>;
  exactly(signal: AbortSignal | undefined): AsyncGenerator<OutputEvent>;
}

export interface ExecResult {
  /** 0 … 255; 128+n when signal n ended it. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The kernel ended a process of the container's meanwhile because memory was used up. */
  readonly oomKilled: boolean;
}

export interface CollectOptions extends ExecOptions {
  /** What the process reads. */
  readonly stdin?: string | Uint8Array | undefined;
  /** Told as it comes, besides being collected. */
  readonly onStdout?: ((text: string) => void) | undefined;
  /** As `onStdout`. */
  readonly onStderr?: ((text: string) => void) | undefined;
  /** The process is killed when it takes longer. */
  readonly timeoutMs?: number | undefined;
  /** Of each output; more is an error. Default 16 MiB. */
  readonly maxOutputBytes?: number | undefined;
}

const DEFAULT_MAX_OUTPUT_BYTES = 16 << 20;
const DEFAULT_MAX_LOG_BYTES = 1 << 20;
const KILL = 9;

/** A function of its own: tsc does not rewrite what is imported beside `await using`. */
const loadConnected = async () => await import("./connected.ts");

/**
 * A container as an object: made by `FlameBox.create`, worked with, and gone when it is closed or disposed of. Its first
 * process is executed when `create` resolves. One that lives by itself is a `ConnectedFlameBox`.
 */
export class FlameBox implements AsyncDisposable {
  readonly files: ContainerFiles;
  readonly #container: Boxed;
  readonly #output: BoxedOutput;

  /** @internal */
  constructor(container: Boxed, output: BoxedOutput) {
    this.#container = container;
    this.#output = output;
    this.files = new ContainerFiles(container.contents);
  }

  /**
   * Starts a container of the image, in a machine of its own.
   * @throws FlameBoxError as `start`
   */
  static async create(image: string, options: FlameBoxOptions = {}): Promise<FlameBox> {
    const { maxLogBytes, ...rest } = options;
    return boxOf(await startContainerOf(image, { ...rest, idle: isIdle(options) }), maxLogBytes);
  }

  /**
   * Makes a container of the image, starts it in a process of its own, and connects to it: it outlives this process,
   * has a name, and is here until it is removed, unless `autoRemove`. As `create`, its first process does nothing
   * without a command.
   * @throws FlameBoxError as `start`; `name-taken`; nothing is left of it then
   */
  static async createDetached(
    image: string,
    options: DetachedFlameBoxOptions = {},
  ): Promise<ConnectedFlameBox> {
    const connected = await loadConnected();
    return await connected.createDetached(image, { ...options, idle: isIdle(options) });
  }

  /**
   * Connects to a container that is here, whoever made it: `flamebox run -d`, `createContainer`, another process.
   * @param nameOrId its name, or the beginning of its id
   * @throws FlameBoxError `container-not-found`, `ambiguous-container-id`
   */
  static async connect(nameOrId: string, options: OperationOptions = {}): Promise<ConnectedFlameBox> {
    return await (await loadConnected()).connect(nameOrId, options);
  }

  /**
   * Containers that are here, newest first, each of which can be connected to.
   * @throws FlameBoxError `invalid-filter`
   */
  static async list(options: ListFlameBoxesOptions = {}): Promise<ListedFlameBox[]> {
    return await (await loadConnected()).list(options);
  }

  /** 64 hexadecimal digits. */
  get id(): string {
    return this.#container.id;
  }

  /** As the options had it. */
  get name(): string | undefined {
    return this.#container.name;
  }

  /** What really runs it: `firecracker (kvm)`, `qemu (software emulation)`. */
  get machine(): string {
    return this.#container.machine;
  }

  /** Published ports, with the host's real port where 0 was asked. */
  get ports(): readonly Required<PortMapping>[] {
    return this.#container.ports;
  }

  /** As its health check has it; undefined without one. */
  get health(): Health | undefined {
    return this.#container.health;
  }

  /** Where the first published port of the container's can be reached from this host: `127.0.0.1:40001`. */
  address(containerPort: number): string {
    const found = this.ports.find((mapping) => mapping.containerPort === containerPort);
    if (found === undefined)
      throw new FlameBoxError("port-not-published", `port ${containerPort} is not published`, {
        hint: `publish it: { publish: [{ hostPort: 0, containerPort: ${containerPort}, protocol: "tcp" }] }`,
      });
    const { hostAddress, hostPort } = found;
    return `${hostAddress?.includes(":") === true ? `[${hostAddress}]` : (hostAddress ?? "127.0.0.1")}:${hostPort}`;
  }

  /**
   * Executes a command to its end and collects what it says. A text is given to the image's /bin/sh; a list is not.
   * @throws FlameBoxError `command-not-found`, `exec-timeout`, `output-too-large`, `machine-lost`, …
   */
  async exec(command: string | readonly string[], options: CollectOptions = {}): Promise<ExecResult> {
    const {
      stdin,
      onStdout,
      onStderr,
      timeoutMs,
      maxOutputBytes = DEFAULT_MAX_OUTPUT_BYTES,
      ...rest
    } = options;
    const running = await this.spawn(command, { ...rest, interactive: stdin !== undefined });
    running.stdin?.end(stdin);
    let isLate = false;
    const end = () => void running.kill(KILL).catch(() => {});
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            isLate = true;
            end();
          }, timeoutMs);
    options.signal?.addEventListener("abort", end, { once: true });
    try {
      const [stdout, stderr, exit] = await Promise.all([
        collect(running.stdout, "stdout", maxOutputBytes, onStdout),
        collect(running.stderr, "stderr", maxOutputBytes, onStderr),
        running.wait(),
      ]);
      options.signal?.throwIfAborted();
      if (isLate)
        throw new FlameBoxError(
          "exec-timeout",
          `the command took longer than ${timeoutMs} ms, and was killed`,
        );
      return { exitCode: exit.code, stdout, stderr, oomKilled: exit.oomKilled };
    } catch (error) {
      end();
      throw error;
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", end);
    }
  }

  /** Executes a command and returns while it runs, with its streams. */
  async spawn(command: string | readonly string[], options: ExecOptions = {}): Promise<ExecProcess> {
    const args = typeof command === "string" ? ["/bin/sh", "-c", command] : command;
    return await this.#container.exec(args, options);
  }

  /**
   * What the first process has said so far, as far as it is kept (`maxLogBytes`); with `follow` also what it says until
   * it ends. As often as wanted: nothing waits for whoever reads.
   */
  logs(options: OutputLogOptions = {}): AsyncGenerator<OutputEvent> {
    return this.#output.read(options);
  }

  /** The same from the first piece that is kept to the last, each exactly once: the process waits for whoever reads. */
  output({ signal }: ContentsOptions = {}): AsyncGenerator<OutputEvent> {
    return this.#output.exactly(signal);
  }

  /** What it has changed of its image's files. */
  changes(options: ContentsOptions = {}): AsyncGenerator<Change> {
    return this.#container.contents.changes(options);
  }

  /** Its processes, the first one first. @throws FlameBoxError `machine-lost`, … */
  async processes({ signal }: ContentsOptions = {}): Promise<readonly ContainerProcess[]> {
    return await unlessAborted(this.#container.contents.processes(), signal);
  }

  /** What it uses now. @throws FlameBoxError `machine-lost`, … */
  async stats({ signal }: ContentsOptions = {}): Promise<ContainerStatistics> {
    return await unlessAborted(this.#container.stats(), signal);
  }

  /** Halts the machine, with all that is in it. */
  async pause({ signal }: ContentsOptions = {}): Promise<void> {
    await unlessAborted(this.#container.pause(), signal);
  }

  /** Lets the machine go on, and sets its clock. @throws FlameBoxError `container-not-paused` */
  async unpause({ signal }: ContentsOptions = {}): Promise<void> {
    await unlessAborted(this.#container.unpause(), signal);
  }

  /** Resolves when the first process has ended. @throws FlameBoxError `machine-lost`; the signal's reason */
  async wait(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<ContainerExit> {
    return await this.#container.wait(options);
  }

  /** Sends a signal (1 … 64; default SIGKILL) to the first process. */
  async kill(signal: number = KILL): Promise<void> {
    await this.#container.kill(signal);
  }

  /**
   * Asks the first process to end, and kills it when it has not in time. `signal` is Docker's: the one that it is sent.
   * @throws FlameBoxError `machine-lost`; the reason of `abort`, which ends the waiting only
   */
  async stop(
    options: {
      readonly signal?: string | number | undefined;
      readonly timeoutMs?: number | undefined;
      readonly abort?: AbortSignal | undefined;
    } = {},
  ): Promise<ContainerExit> {
    const { abort, ...rest } = options;
    return await unlessAborted(this.#container.stop(rest), abort);
  }

  /** What `await using` does: ends the machine, and nothing of it is left. A connected one is only let go of. */
  async close(): Promise<void> {
    await this.#container[Symbol.asyncDispose]();
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function isIdle({ idle, command, entrypoint }: ContainerOptions): boolean {
  return idle ?? (command === undefined && entrypoint === undefined);
}

/** Of a container of this process's, which is the box's from here on. */
export function boxOf(container: Container, maxLogBytes: number = DEFAULT_MAX_LOG_BYTES): FlameBox {
  return new FlameBox(container, new OutputLog(container, maxLogBytes));
}

async function collect(
  source: Readable,
  name: string,
  maxBytes: number,
  onText: ((text: string) => void) | undefined,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let sizeBytes = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes)
      throw new FlameBoxError(
        "output-too-large",
        `the command wrote more than ${maxBytes} bytes to ${name}`,
        {
          hint: "raise maxOutputBytes, or read its streams: spawn",
        },
      );
    const piece = decoder.decode(chunk, { stream: true });
    text += piece;
    if (piece !== "") onText?.(piece);
  }
  return text + decoder.decode();
}
