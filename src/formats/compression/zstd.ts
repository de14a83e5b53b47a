/**
 * zstd by the best decoder at hand: node:zlib (Node 22.15 and later; zstd-here.ts), the `zstd` program as a child,
 * or fzstd, a decoder in JavaScript. https://www.rfc-editor.org/rfc/rfc8878
 */
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { messageOf, systemCode } from "../../util/error.ts";
import { CompressionError } from "./error.ts";
import { Feeder } from "./feed.ts";
import { chunksOf } from "./output.ts";
import { canUnzstdHere } from "./sync-decoder.ts";
import { onlyFrames } from "./zstd-frame.ts";
import { unzstdHere } from "./zstd-here.ts";
import { WindowGuard } from "./zstd-window.ts";

const CHUNK_BYTES = 1024 * 1024;
const AHEAD_BYTES = 4 * CHUNK_BYTES;
const JAVASCRIPT_PUSH_BYTES = 2048;
const MAX_STDERR_BYTES = 4096;
/** RFC 8878 lets decoders refuse windows beyond 8 MiB; 128 MiB is what the zstd program takes by default. */
const MAX_WINDOW_LOG = 27;

type Chunks = AsyncGenerator<Uint8Array, void, undefined>;
type Child = ChildProcessByStdio<Writable, Readable, Readable>;

export interface UnzstdOptions {
  readonly program: string | false;
  readonly signal?: AbortSignal | undefined;
  readonly ownsInput?: boolean | undefined;
  /** A chunk is the caller's only until it asks for the next one. */
  readonly inThisThread?: boolean | undefined;
}

export async function* unzstd(
  source: AsyncIterable<Uint8Array>,
  { program, signal, ownsInput, inThisThread = false }: UnzstdOptions,
): Chunks {
  if (canUnzstdHere()) {
    const chunks = unzstdHere(source, { signal, ownsInput });
    return yield* inThisThread ? chunks : copied(chunks);
  }
  const child = program === false ? undefined : await started(program);
  if (child !== undefined) return yield* throughProgram(onlyFrames(source), child, signal);
  return yield* throughJavaScript(source);
}

async function* copied(chunks: Chunks): Chunks {
  for await (const chunk of chunks) yield Buffer.from(chunk);
}

// --- the program ------------------------------------------------------------------------------------------

/** A running decoder, or undefined when there is no such program. */
async function started(program: string): Promise<Child | undefined> {
  const args = ["--decompress", "--stdout", "--quiet", `--memory=${2 ** (MAX_WINDOW_LOG - 20)}MB`];
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  try {
    await once(child, "spawn");
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "EACCES") return undefined;
    throw new CompressionError("zstd-failed", `cannot start ${program}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return child;
}

async function* throughProgram(
  source: AsyncIterable<Uint8Array>,
  child: Child,
  signal: AbortSignal | undefined,
): Chunks {
  const kill = (): void => void child.kill("SIGKILL");
  signal?.addEventListener("abort", kill, { once: true });
  const exited = new Promise<number | null>((resolve) => child.once("close", resolve));
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => {
    complaint = (complaint + chunk.toString("latin1")).slice(0, MAX_STDERR_BYTES);
  });
  let sourceError: { readonly error: unknown } | undefined;
  const feeder = new Feeder();
  const fed = feeder.run(source, child.stdin).catch((error: unknown) => {
    // A decoder that gives up closes its end; what it says about that is the better message.
    if (systemCode(error) === "EPIPE" || systemCode(error) === "ERR_STREAM_DESTROYED") return;
    sourceError = { error };
    kill();
  });
  // Without a listener a broken pipe would end the process; the write's own failure reports it.
  child.stdin.on("error", () => {});
  try {
    yield* chunksOf(child.stdout, AHEAD_BYTES);
    const status = await exited;
    signal?.throwIfAborted();
    if (sourceError !== undefined) throw sourceError.error;
    if (status !== 0) throw corrupt(firstLine(complaint) || `the decoder ended with status ${status}`);
    await fed;
    // Set while `fed` was waited for.
    if (sourceError !== undefined) throw (sourceError as { readonly error: unknown }).error;
  } finally {
    signal?.removeEventListener("abort", kill);
    feeder.stop();
    kill();
    // The child counts as closed only when its pipes are, and nobody reads them any more.
    for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe.destroy();
    await exited;
  }
}

function firstLine(text: string): string {
  const line = text.split("\n", 1)[0] ?? "";
  return line.replace(/[^\x20-\x7e]/g, "?").slice(0, 200);
}

// --- JavaScript -------------------------------------------------------------------------------------------

async function* throughJavaScript(source: AsyncIterable<Uint8Array>): Chunks {
  // Loaded only where it is needed: most hosts have one of the faster decoders.
  const { Decompress } = await import("fzstd");
  const ready: Uint8Array[] = [];
  const decoder = new Decompress((chunk) => void ready.push(chunk));
  // It takes at once what a frame's header asks for.
  const guard = new WindowGuard(2 ** MAX_WINDOW_LOG);
  for await (const chunk of source) {
    guard.push(chunk);
    // Four bytes may stand for 128 KiB, and a push decodes all it is given: small pushes bound what a bomb
    // can make of one.
    for (let at = 0; at < chunk.length; at += JAVASCRIPT_PUSH_BYTES) {
      decode(() => decoder.push(chunk.subarray(at, at + JAVASCRIPT_PUSH_BYTES)));
      yield* ready.splice(0);
    }
  }
  decode(() => decoder.push(new Uint8Array(0), true));
  yield* ready.splice(0);
}

function decode(job: () => void): void {
  try {
    job();
  } catch (error) {
    throw corrupt(messageOf(error), error);
  }
}

// --- common -----------------------------------------------------------------------------------------------

function corrupt(reason: string, cause?: unknown): CompressionError {
  return new CompressionError("zstd-corrupt", `zstd data is corrupt: ${reason}`, { cause });
}
