/** Numbers of the Linux signals that the command line catches. signal(7); the same on every platform we run on. */
import type { CliContext, SignalName } from "./context.ts";
import { Interrupted } from "./failure.ts";

export const SIGNAL_NUMBERS: Readonly<Record<SignalName, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGTERM: 15,
  SIGWINCH: 28,
};

const ENDING: readonly SignalName[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];

/**
 * Runs `job` with a signal that aborts when the user wants to stop. The job then undoes what it had begun and
 * rejects; a second signal ends the process without waiting for that.
 */
export async function interruptible<T>(
  context: CliContext,
  job: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const listeners = ENDING.map((name) => {
    const listener = () => {
      if (controller.signal.aborted) context.exitNow(128 + SIGNAL_NUMBERS[name]);
      else controller.abort(new Interrupted(name, SIGNAL_NUMBERS[name]));
    };
    context.signals.on(name, listener);
    return () => context.signals.off(name, listener);
  });
  try {
    return await job(controller.signal);
  } catch (error) {
    // Whatever a step makes of being aborted, to the user it is the interruption.
    if (controller.signal.aborted) throw controller.signal.reason;
    throw error;
  } finally {
    for (const remove of listeners) remove();
  }
}

/**
 * Keeps signals from ending the process in the moments when nobody else listens. Node gives a signal back its
 * deadly default with the last listener; one that arrives meanwhile waits for the next turn of the event loop.
 */
export function holdSignals(context: CliContext): () => void {
  const hold = () => {};
  for (const name of ENDING) context.signals.on(name, hold);
  return () => {
    for (const name of ENDING) context.signals.off(name, hold);
  };
}
