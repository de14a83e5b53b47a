/**
 * Signals that reach `flamebox run` once the container runs: handed on to its process, as `docker run` does.
 *
 * The process is PID 1 of its namespace, so the kernel drops every signal that it has no handler for: a plain
 * `sleep` would make Ctrl-C useless. So a second SIGINT soon after the first, or a third at any time, ends the
 * machine.
 */
import type { CliContext, SignalName } from "../context.ts";
import type { Reporter } from "../output/reporter.ts";
import { SIGNAL_NUMBERS } from "../signals.ts";

const FORWARDED: readonly SignalName[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"];

const IMPATIENT_MS = 2000;

export interface ForwardingOptions {
  readonly reporter: Reporter;
  /** The user insists: end the machine. The number is the signal's. */
  readonly onInsist: (signalNumber: number) => void;
}

export function forwardSignals(
  context: CliContext,
  container: { kill(signal: number): Promise<void> },
  options: ForwardingOptions,
): () => void {
  const { reporter, onInsist } = options;
  const interruptsMs: number[] = [];
  const forward = (name: SignalName) => {
    if (name === "SIGINT") {
      const now = context.clock.now();
      const last = interruptsMs.at(-1);
      interruptsMs.push(now);
      if (interruptsMs.length >= 3 || (last !== undefined && now - last < IMPATIENT_MS)) {
        onInsist(SIGNAL_NUMBERS[name]);
        return;
      }
    }
    container.kill(SIGNAL_NUMBERS[name]).catch((error: Error) => {
      // Usually it has just ended, and `wait` says how.
      reporter.debug(`${name} was not delivered: ${error.message}`);
    });
  };
  const listeners = FORWARDED.map((name) => {
    const listener = () => forward(name);
    context.signals.on(name, listener);
    return () => context.signals.off(name, listener);
  });
  return () => {
    for (const remove of listeners) remove();
  };
}
