/**
 * One `flamebox run`, from start to exit code.
 *
 *     start ── signals abort ──► container ── signals are its own ──► exit code
 *       progress on stderr          stdin ─► process ─► stdout, stderr
 *
 * Everything that is taken (raw mode, listeners, the machine) is given back in one `finally`, whichever way
 * the session ends.
 */
import type { CliContext } from "../context.ts";
import { EXIT, Interrupted, isBrokenPipe, UsageError } from "../failure.ts";
import type { ContainerOptions, Health, Library, RunningContainer } from "../library.ts";
import type { Reporter } from "../output/reporter.ts";
import { holdSignals, interruptible, SIGNAL_NUMBERS } from "../signals.ts";
import { DEFAULT_DETACH_KEYS, KeySequence, parseDetachKeys } from "./detach-keys.ts";
import { forwardSignals } from "./signals.ts";
import { copyOutput, feedInput, type LocalKeys } from "./streams.ts";
import { enterRawMode, terminalKind, terminalSize } from "./terminal.ts";

export interface SessionPlan {
  readonly image: string;
  readonly options: ContainerOptions;
  readonly interactive: boolean;
  readonly tty: boolean;
  /** Of a terminal that is given to the container; default ctrl-p,ctrl-q. */
  readonly detachKeys?: Uint8Array;
}

/** How soon the detach keys have to be pressed again to be meant. */
const DETACH_AGAIN_MS = 5_000;
/** As long as Docker gives a container to stop. */
const HANG_UP_GRACE_MS = 10_000;

/** Refuses `-it` without a terminal before anything is pulled. */
export function checkTerminal(context: CliContext, plan: Pick<SessionPlan, "interactive" | "tty">): void {
  if (plan.tty && plan.interactive && context.stdin.isTTY !== true) {
    throw new UsageError(
      "the input device is not a TTY",
      "leave out -t to read from a pipe or a file, or -i",
    );
  }
}

function describeStart(container: RunningContainer, reporter: Reporter, asked: ContainerOptions): void {
  const { id, machine, kernelRelease, bootRetries } = container;
  reporter.debug(`container ${id} runs in ${machine}, kernel ${kernelRelease}`);
  if (bootRetries > 0) reporter.debug(`the boot was repeated: ${bootRetries}`);
  if (asked.publishAll !== true && !(asked.publish ?? []).some((mapping) => mapping.hostPort === 0)) return;
  for (const { hostAddress, hostPort, containerPort, protocol } of container.ports) {
    const address = hostAddress?.includes(":") === true ? `[${hostAddress}]` : (hostAddress ?? "127.0.0.1");
    reporter.inform(`published ${address}:${hostPort} -> ${containerPort}/${protocol}`);
  }
}

/** Keeps the container's terminal as large as ours. */
function followSize(context: CliContext, container: RunningContainer, reporter: Reporter): () => void {
  let last = "";
  const follow = () => {
    const size = terminalSize(context);
    const key = `${size.columns}x${size.rows}`;
    if (key === last) return;
    last = key;
    container.resize(size).catch((error: Error) => reporter.debug(`resize: ${error.message}`));
  };
  // Node's own listener refreshes `columns` on the same signal; it must have run before ours looks.
  const listener = () => setImmediate(follow);
  context.signals.on("SIGWINCH", listener);
  // The window may have changed while the machine was started.
  follow();
  return () => context.signals.off("SIGWINCH", listener);
}

/** What the last check said is of interest when it failed. */
function healthLine({ status, failingStreak, log }: Health): string {
  const last = log.at(-1);
  if (status !== "unhealthy" || last === undefined) return `health: ${status}`;
  const said = last.output.trim();
  return `health: ${status} after ${failingStreak} failed checks, exit code ${last.exitCode}${said && `: ${said}`}`;
}

const KILLED = 137;

/** The process itself, or one that it had started: a shell may well go on without it. */
function outOfMemory({ memoryLimitBytes }: RunningContainer, code: number): string {
  const what = code === KILLED ? "killed" : "a process of the container was killed";
  return `${what}: out of memory (limit ${Math.floor(memoryLimitBytes / 2 ** 20)} MiB); raise --memory`;
}

/**
 * There is nobody yet who would keep a container whose command has gone. So the detach keys do not end it by
 * surprise: they say so, and pressed again they are the way out of a container that takes every other key.
 */
function detaching(
  context: CliContext,
  plan: SessionPlan,
  onInsist: (error: Interrupted) => void,
): LocalKeys {
  let pressedMs = Number.NEGATIVE_INFINITY;
  const onPressed = () => {
    const now = context.clock.now();
    if (now - pressedMs < DETACH_AGAIN_MS)
      onInsist(new Interrupted("the detach keys", SIGNAL_NUMBERS.SIGTERM));
    pressedMs = now;
    // The terminal is raw: a line feed alone would not begin a line.
    context.stderr.write(
      "\r\nflamebox: a container cannot be left running yet; the same keys again within 5 s end it\r\n",
    );
  };
  return { sequence: new KeySequence(plan.detachKeys ?? parseDetachKeys(DEFAULT_DETACH_KEYS)), onPressed };
}

/**
 * A raw terminal has no end of input: it has gone, and nobody could reach the container any more. It is told
 * (SIGHUP is forwarded, its own terminal ends); one that takes no notice is ended.
 */
function hangingUp(context: CliContext, onInsist: (error: Interrupted) => void): () => void {
  const { stdin, clock } = context;
  let stop = () => {};
  const onGone = () => {
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
  container: RunningContainer,
  plan: SessionPlan,
  reporter: Reporter,
): Promise<number> {
  const releases: (() => void)[] = [];
  let insist: (error: Interrupted) => void = () => {};
  const insisted = new Promise<never>((_, reject) => {
    insist = reject;
    const onInsist = (signalNumber: number) => reject(new Interrupted("SIGINT", signalNumber));
    releases.push(forwardSignals(context, container, { reporter, onInsist }));
  });
  // Keys may come before anybody listens to the race.
  insisted.catch(() => {});
  try {
    if (plan.tty) releases.push(followSize(context, container, reporter));
    if (container.stdin !== null && plan.interactive) {
      // Without -i the keys would go nowhere, and Ctrl-C with them; so the terminal stays as it is.
      if (plan.tty) releases.push(enterRawMode(context), hangingUp(context, insist));
      const onError = (error: Error) => reporter.onNotice(`standard input cannot be read: ${error.message}`);
      const local = plan.tty ? detaching(context, plan, insist) : undefined;
      releases.push(feedInput(context.stdin, container.stdin, onError, local));
    }
    const ended = Promise.all([
      container.wait(),
      copyOutput(container.stdout, context.stdout, "standard output"),
      copyOutput(container.stderr, context.stderr, "standard error"),
    ]);
    const [exit] = await Promise.race([ended, insisted]);
    // Told however quiet it is to be: it is why the process failed.
    if (exit.oomKilled) context.stderr.write(`flamebox: ${outOfMemory(container, exit.code)}\n`);
    return exit.code;
  } finally {
    for (const release of releases.toReversed()) release();
  }
}

export async function runSession(
  context: CliContext,
  library: Pick<Library, "start">,
  plan: SessionPlan,
  reporter: Reporter,
): Promise<number> {
  checkTerminal(context, plan);
  const release = holdSignals(context);
  try {
    return await startAndAttend(context, library, plan, reporter);
  } finally {
    release();
  }
}

async function startAndAttend(
  context: CliContext,
  library: Pick<Library, "start">,
  plan: SessionPlan,
  reporter: Reporter,
): Promise<number> {
  const term = plan.tty ? terminalKind(context) : undefined;
  const container = await interruptible(context, (signal) =>
    library.start(plan.image, {
      ...plan.options,
      ...(plan.tty ? { tty: terminalSize(context) } : {}),
      ...(term === undefined ? {} : { term }),
      signal,
      onProgress: reporter.onProgress,
      onNotice: reporter.onNotice,
      onHealth: (health) => reporter.inform(healthLine(health)),
    }),
  );
  try {
    reporter.stop();
    describeStart(container, reporter, plan.options);
    return await attend(context, container, plan, reporter);
  } catch (error) {
    // The reader has gone, as in `flamebox run … | head`: end as the process itself would, of SIGPIPE.
    if (isBrokenPipe(error)) return EXIT.brokenPipe;
    throw error;
  } finally {
    // A signal now changes nothing, and must not leave a machine behind; a second one need not wait for it.
    await interruptible(context, async () => container[Symbol.asyncDispose]());
  }
}
