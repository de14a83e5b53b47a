/** The control socket's side of whoever wants something of a container that another process runs. */
import type { Readable } from "node:stream";
import { PassThrough, Writable } from "node:stream";
import { FlameBoxError } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import { quote } from "../../util/printable.ts";
import type { ContainerExit } from "../options.ts";
import { connect } from "./socket.ts";
import { Channel, FrameKind, parseMessage, unpackError } from "./wire.ts";

export interface Target {
  readonly id: string;
  readonly name: string;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** @throws FlameBoxError `container-not-running` */
async function open(paths: Paths, { id, name }: Target): Promise<Channel> {
  const socket = await connect(paths, id);
  if (socket !== undefined) return new Channel(socket);
  throw new FlameBoxError("container-not-running", `the container ${quote(name)} is not running`, {
    hint: `start it first: flamebox start ${name}`,
  });
}

/** The answer to the one request of a channel. */
async function answerOf(channel: Channel): Promise<Record<string, unknown>> {
  const answer = await channel.nextMessage();
  if (answer === undefined)
    throw new FlameBoxError("container-not-running", "the container's process ended before it answered");
  if ("error" in answer) throw unpackError(answer["error"]);
  return (answer["result"] ?? {}) as Record<string, unknown>;
}

/**
 * One request and its answer. Aborting leaves the container as it then is.
 * @throws FlameBoxError `container-not-running`; whatever the method throws; the signal's reason
 */
export async function call(
  paths: Paths,
  target: Target,
  request: { readonly method: string; readonly params?: object },
  { signal }: CallOptions = {},
): Promise<Record<string, unknown>> {
  signal?.throwIfAborted();
  await using channel = await open(paths, target);
  const abort = () => void channel[Symbol.asyncDispose]();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    await channel.sendMessage(request);
    return await answerOf(channel);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** A process in a container, seen through its control socket. Dispose it to hear no more of it; it goes on. */
export interface RemoteProcess extends AsyncDisposable {
  /** What the method has answered. */
  readonly result: Record<string, unknown>;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when it has ended and its output was taken. @throws FlameBoxError */
  wait(): Promise<ContainerExit>;
}

/** @throws as `call` */
export async function openProcess(
  paths: Paths,
  target: Target,
  request: { readonly method: string; readonly params: object },
): Promise<RemoteProcess> {
  const channel = await open(paths, target);
  try {
    await channel.sendMessage(request);
    const result = await answerOf(channel);
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const exit = receive(channel, stdout, stderr);
    exit.catch(() => {});
    return {
      result,
      stdin: inputOf(channel),
      stdout,
      stderr,
      wait: async () => await exit,
      [Symbol.asyncDispose]: async () => await channel[Symbol.asyncDispose](),
    };
  } catch (error) {
    await channel[Symbol.asyncDispose]();
    throw error;
  }
}

type Done = (error?: Error | null) => void;

function inputOf(channel: Channel): Writable {
  const stdin = new Writable({
    write: (chunk: Buffer, _encoding, done: Done) => void sendInput(channel, FrameKind.stdin, chunk, done),
    final: (done: Done) => void sendInput(channel, FrameKind.stdinEnd, Buffer.alloc(0), () => done()),
  });
  // The process has ended, most likely; whoever waits for that is told.
  stdin.on("error", () => {});
  return stdin;
}

async function sendInput(channel: Channel, kind: FrameKind, bytes: Buffer, done: Done): Promise<void> {
  try {
    await channel.send(kind, bytes);
  } catch (error) {
    done(error instanceof Error ? error : null);
    return;
  }
  done();
}

async function receive(channel: Channel, stdout: PassThrough, stderr: PassThrough): Promise<ContainerExit> {
  try {
    for (let frame = await channel.next(); frame !== undefined; frame = await channel.next()) {
      if (frame.kind === FrameKind.stdout) await push(stdout, frame.payload);
      else if (frame.kind === FrameKind.stderr) await push(stderr, frame.payload);
      else if (frame.kind === FrameKind.message) {
        const message = parseMessage(frame);
        if ("error" in message) throw unpackError(message["error"]);
        if ("exit" in message) {
          stdout.end();
          stderr.end();
          return exitOf(message["exit"]);
        }
      }
    }
    throw new FlameBoxError("container-lost", "the process that runs the container has gone");
  } catch (error) {
    // What has come is not all: whoever reads must not take it for that.
    for (const output of [stdout, stderr]) {
      output.on("error", () => {});
      output.destroy(error instanceof Error ? error : undefined);
    }
    throw error;
  }
}

async function push(sink: PassThrough, bytes: Buffer): Promise<void> {
  if (sink.destroyed || sink.write(bytes)) return;
  await new Promise<void>((resolve) => {
    const settle = () => {
      sink.off("drain", settle);
      sink.off("close", settle);
      resolve();
    };
    sink.on("drain", settle);
    sink.on("close", settle);
  });
}

/** @throws FlameBoxError `control-broken` */
export function exitOf(value: unknown): ContainerExit {
  const { code, signal, oomKilled } = (value ?? {}) as Record<string, unknown>;
  if (typeof code !== "number") throw new FlameBoxError("control-broken", "an end without an exit code");
  return { code, ...(typeof signal === "number" && { signal }), oomKilled: oomKilled === true };
}
