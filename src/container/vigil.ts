/** A machine whose agent hangs while its VMM lives: noticed by its heartbeat, told to whoever waits, and ended. */
import type { HeartbeatTiming } from "../agent/session/heartbeat.ts";
import { HEARTBEAT, HEARTBEAT_GENERATION, watchHeartbeat } from "../agent/session/heartbeat.ts";
import { lastWords, MachineError } from "../machine/machine.ts";
import type { BootedMachine } from "./boot.ts";

/** The watch over a machine; suspended while the machine is paused, as nobody could answer. */
export interface Vigil {
  suspend(): void;
  resume(): void;
}

/** Watches until `over` settles. An agent of generation 1 has no heartbeat, and is not watched. */
export function keepVigil(
  booted: Pick<BootedMachine, "machine" | "session" | "hello">,
  over: Promise<unknown>,
  timing: HeartbeatTiming = HEARTBEAT,
): Vigil {
  const { machine, session, hello } = booted;
  if (hello.generation < HEARTBEAT_GENERATION) return { suspend: () => {}, resume: () => {} };
  let isOver = false;
  let stop = () => {};
  const watch = (): void => {
    stop = watchHeartbeat(session, timing, (silentMs) => {
      const words = lastWords(machine.diagnostics());
      const what = `the machine was lost: its agent has not answered for ${silentMs / 1000} s`;
      session.abandon(new MachineError("agent-unresponsive", `${what}${words && `\n  ${words}`}`));
    });
  };
  const end = (): void => {
    isOver = true;
    stop();
  };
  over.then(end, end);
  watch();
  return {
    suspend: () => stop(),
    resume: () => {
      if (!isOver) watch();
    },
  };
}
