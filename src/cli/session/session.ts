/**
 * One session with a process in a container, from its start to its exit code: `run`, `start -a`, `attach`, `exec`.
 *
 *     open ── signals abort ──► process ── signals are its own ──► exit code
 *       progress on stderr         stdin ─► process ─► stdout, stderr
 *
 * Everything that is taken (raw mode, listeners, the machine) is given back in one `finally`, whichever way
 * the session ends.
 */
import type { CliContext } from "../context.ts";
import { EXIT, Interrupted, isBrokenPipe, UsageError } from "../failure.ts";
import type { AttachedContainer, ContainerExit } from "../library.ts";
import type { Reporter } from "../output/reporter.ts";
import { holdSignals, interruptible, SIGNAL_NUMBERS } from "../signals.ts";
import { DEFAULT_DETACH_KEYS, KeySequence, parseDetachKeys } from "./detach-keys.ts";
import { forwardSignals } from "./signals.ts";
import { copyOutput, feedInput, type LocalKeys } from "./streams.ts";
import { enterRawMode, terminalSize } from "./terminal.ts";

/** Who is talked to: a container's first process, or another one in it. */
export interface Partner
  extends AsyncDisposable,
    Pick<AttachedContainer, "stdin" | "stdout" | "stderr" | "wait" | "kill" | "resize"> {
  /** What to say when it is left: it goes on. Undefined where it ends with the session. */
  readonly farewell?: string | undefined;
  /** Of a container. */
  readonly memoryLimitBytes?: number | undefined;
}

export interface Manner {
  readonly interactive: boolean;
  readonly tty: boolean;
  /** Of a terminal that is given to the container; default ctrl-p,ctrl-q. */
  readonly detachKeys?: Uint8Array;
  /** Whether signals are handed on; default true. */
  readonly forwardsSignals?: boolean;
}

/** As long as Docker gives a container to stop. */
const HANG_UP_GRACE_MS = 10_000;

/** Refuses `-it` without a terminal before anything is pulled. */
export function checkTerminal(context: CliContext, plan: Pick<Manner, "interactive" | "tty">): void {
  if (plan.tty && plan.interactive && context.stdin.isTTY !== true) {
    throw new UsageError(
      "the input device is not a TTY",
      "leave out -t to read from a pipe or a file, or -i",
    );
  }
}

/** Keeps the container's terminal as large as ours. */
function followSize(context: CliContext, partner: Partner, reporter: Reporter): () => void {
  let last = "";
  const follow = () => {
    const size = terminalSize(context);
    const key = `${size.columns}x${size.rows}`;
    if (key === last) return;
    last = key;
    partner.resize(size).catch((error: Error) => reporter.debug(`resize: ${error.message}`));
  };
  // Node's own listener refreshes `columns` on the same signal; it must have run before ours looks.
  const listener = () => setImmediate(follow);
  context.signals.on("SIGWINCH", listener);
  // The window may have changed while the machine was started.
  follow();
  return () => context.signals.off("SIGWINCH", listener);
}

const KILLED = 137;

/** The process itself, or one that it had started: a shell may well go on without it. */
function outOfMemory(memoryLimitBytes: number | undefined, code: number): string {
  const what = code === KILLED ? "killed" : "a process of the container was killed";
  const limit =
    memoryLimitBytes === undefined ? "" : ` (limit ${Math.floor(memoryLimitBytes / 2 ** 20)} MiB)`;
  return `${what}: out of memory${limit}; raise --memory`;
}

/** The keys were pressed: the session is over, and whoever it was with goes on. */
class Left extends Error {}

/**
 * A raw terminal has no end of input: it has gone, and nobody could reach the container any more. It is told
 * (SIGHUP is forwarded, its own terminal ends); one that takes no notice is ended.
 */
function hangingUp(context: CliContext, { farewell }: Partner, onInsist: (error: Error) => void): () => void {
  const { stdin, clock } = context;
  let stop = () => {};
  const onGone = () => {
    if (farewell !== undefined) {
      onInsist(new Left());
      return;
    }
    stop = clock.every(HANG_UP_GRACE_MS, () => onInsist(new Interrupted("SIGHUP", SIGNAL_NUMBERS.SIGHUP)));
  };
  const release = () => {
    stop();
    for (const event of ["end", "error"]) stdin.off(event, onGone);
  };
  for (const event of ["end", "error"]) stdin.once(event, onGone);
  return release;
}

/** Resolves with the exit code once the process has ended and its output has been handed on. */
async function attend(
  context: CliContext,
  partner: Partner,
  manner: Manner,
  reporter: Reporter,
): Promise<number> {
  const releases: (() => void)[] = [];
  let leave: (error: Error) => void = () => {};
  const left = new Promise<never>((_, reject) => {
    leave = reject;
    if (manner.forwardsSignals === false) return;
    const onInsist = (signalNumber: number) => reject(new Interrupted("SIGINT", signalNumber));
    releases.push(forwardSignals(context, partner, { reporter, onInsist }));
  });
  // Keys may come before anybody listens to the race.
  left.catch(() => {});
  try {
    if (manner.tty) releases.push(followSize(context, partner, reporter));
    if (partner.stdin !== null && manner.interactive) {
      // Without -i the keys would go nowhere, and Ctrl-C with them; so the terminal stays as it is.
      if (manner.tty) releases.push(enterRawMode(context), hangingUp(context, partner, leave));
      const onError = (error: Error) => reporter.onNotice(`standard input cannot be read: ${error.message}`);
      releases.push(feedInput(context.stdin, partner.stdin, onError, localKeys(manner, partner, leave)));
    }
    const ended = Promise.all([
      partner.wait(),
      copyOutput(partner.stdout, context.stdout, "standard output"),
      copyOutput(partner.stderr, context.stderr, "standard error"),
    ]);
    const [exit] = await Promise.race([ended, left]);
    tellEnd(context, partner, exit);
    return exit.code;
  } catch (error) {
    if (!(error instanceof Left)) throw error;
    context.stderr.write(`\r\nflamebox: ${partner.farewell ?? ""}\n`);
    return 0;
  } finally {
    for (const release of releases.toReversed()) release();
  }
}

function localKeys(
  { tty, detachKeys }: Manner,
  { farewell }: Partner,
  leave: (error: Error) => void,
): LocalKeys | undefined {
  if (!tty || farewell === undefined) return undefined;
  const sequence = new KeySequence(detachKeys ?? parseDetachKeys(DEFAULT_DETACH_KEYS));
  return { sequence, onPressed: () => leave(new Left()) };
}

/** Told however quiet it is to be: it is why the process failed. */
function tellEnd(context: CliContext, { memoryLimitBytes }: Partner, exit: ContainerExit): void {
  if (exit.oomKilled) context.stderr.write(`flamebox: ${outOfMemory(memoryLimitBytes, exit.code)}\n`);
}

/** @returns the exit code */
export async function holdSession<P extends Partner>(
  context: CliContext,
  open: (signal: AbortSignal) => Promise<P>,
  manner: Manner,
  { reporter, onOpen }: { readonly reporter: Reporter; readonly onOpen?: (partner: P) => void },
): Promise<number> {
  checkTerminal(context, manner);
  const release = holdSignals(context);
  try {
    const partner = await interruptible(context, open);
    try {
      reporter.stop();
      onOpen?.(partner);
      return await attend(context, partner, manner, reporter);
    } catch (error) {
      // The reader has gone, as in `flamebox run … | head`: end as the process itself would, of SIGPIPE.
      if (isBrokenPipe(error)) return EXIT.brokenPipe;
      throw error;
    } finally {
      // A signal now changes nothing, and must not leave a machine behind; a second one need not wait for it.
      await interruptible(context, async () => partner[Symbol.asyncDispose]());
    }
  } finally {
    release();
  }
}

/** What a process with a terminal is told of ours. */
export { terminalKind, terminalSize } from "./terminal.ts";
