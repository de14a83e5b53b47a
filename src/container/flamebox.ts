/**
 * A container as an object, for programs that run other people's code: made ready, executed into as often as wanted, and
 * gone with the block that made it.
 *
 *     await using box = await FlameBox.create("python:3");
 *     await box.files.write("/app/main.py", "print(6 * 7)");
 *     const { exitCode, stdout } = await box.exec("python3 /app/main.py");
 */
import type { Readable } from "node:stream";
import { FlameBoxError } from "../util/error.ts";
import type { Change } from "./contents.ts";
import { ContainerFiles } from "./container-files.ts";
import type { ExecOptions, ExecProcess } from "./exec.ts";
import type { ContainerExit, ContainerOptions, ContainerStatistics, Health, PortMapping } from "./options.ts";
import type { Container } from "./running.ts";
import { startContainerOf } from "./start.ts";

/**
 * Without a command, its first process does nothing, and the container is there until it is stopped; with `idle: false`
 * it is the image's own.
 */
export type FlameBoxOptions = Omit<ContainerOptions, "onHealth">;

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

/** What a container says, in the order in which it came. */
export interface OutputEvent {
  readonly stream: "stdout" | "stderr";
  readonly bytes: Buffer;
}

const DEFAULT_MAX_OUTPUT_BYTES = 16 << 20;
const KILL = 9;

/**
 * A container as an object: made by `FlameBox.create`, worked with, and gone when it is disposed of. Its first process is
 * executed when `create` resolves.
 */
export class FlameBox implements AsyncDisposable {
  readonly files: ContainerFiles;
  readonly #container: Container;

  private constructor(container: Container) {
    this.#container = container;
    this.files = new ContainerFiles(container.contents);
  }

  /**
   * Starts a container of the image, in a machine of its own.
   * @throws FlameBoxError as `start`
   */
  static async create(image: string, options: FlameBoxOptions = {}): Promise<FlameBox> {
    const { idle = options.command === undefined && options.entrypoint === undefined } = options;
    return new FlameBox(await startContainerOf(image, { ...options, idle }));
  }

  /** 64 hexadecimal digits. */
  get id(): string {
    return this.#container.id;
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

  /** What the first process says. Once; ends with it. */
  async *output(): AsyncGenerator<OutputEvent> {
    const { stdout, stderr } = this.#container;
    const sources = [
      { stream: "stdout", chunks: stdout[Symbol.asyncIterator]() as AsyncIterator<Buffer> },
      { stream: "stderr", chunks: stderr[Symbol.asyncIterator]() as AsyncIterator<Buffer> },
    ] as const;
    const next = async (source: (typeof sources)[number]) => ({ source, result: await source.chunks.next() });
    // One of each is asked for at a time, so that nothing piles up.
    const asked = new Map(sources.map((source) => [source.stream, next(source)]));
    while (asked.size > 0) {
      const { source, result } = await Promise.race(asked.values());
      if (result.done === true) asked.delete(source.stream);
      else {
        yield { stream: source.stream, bytes: result.value };
        asked.set(source.stream, next(source));
      }
    }
  }

  /** What it has changed of its image's files. */
  changes(): AsyncGenerator<Change> {
    return this.#container.contents.changes();
  }

  /** What it uses now. @throws FlameBoxError `machine-lost`, … */
  async stats(): Promise<ContainerStatistics> {
    return await this.#container.stats();
  }

  /** Halts the machine, with all that is in it. */
  async pause(): Promise<void> {
    await this.#container.pause();
  }

  /** Lets the machine go on, and sets its clock. @throws FlameBoxError `container-not-paused` */
  async unpause(): Promise<void> {
    await this.#container.unpause();
  }

  /** Resolves when the first process has ended. @throws FlameBoxError `machine-lost`; the signal's reason */
  async wait(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<ContainerExit> {
    return await this.#container.wait(options);
  }

  /** Sends a signal (1 … 64; default SIGKILL) to the first process. */
  async kill(signal: number = KILL): Promise<void> {
    await this.#container.kill(signal);
  }

  /** Asks the first process to end, and kills it when it has not in time. */
  async stop(
    options: { readonly signal?: string | number; readonly timeoutMs?: number } = {},
  ): Promise<ContainerExit> {
    return await this.#container.stop(options);
  }

  /** Ends the machine; nothing of it is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#container[Symbol.asyncDispose]();
  }
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
