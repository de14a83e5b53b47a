/**
 * Whether the guest's agent still answers: `system.ping` (generation 2), one at a time.
 *
 *     answered ── everyMs ──► ping ──┬─ answer ──► answered
 *                                    └─ answerMs without one: a miss, and the next ping; the last miss is the end
 *
 * Time is counted in ticks. Where several are missing, this host was suspended or this process stopped, and
 * nobody could have answered: the wait begins anew.
 */
import { FlameBoxError } from "../../util/error.ts";
import type { AgentSession } from "./session.ts";

export interface HeartbeatTiming {
  /** From an answer to the next ping. */
  readonly everyMs: number;
  /** How long one ping may go unanswered. */
  readonly answerMs: number;
  /** So many unanswered pings in a row are the end. */
  readonly misses: number;
}

export const HEARTBEAT: HeartbeatTiming = { everyMs: 10_000, answerMs: 20_000, misses: 3 };
/** The first generation that has `system.ping`. */
export const HEARTBEAT_GENERATION = 2;

const TICKS_PER_PERIOD = 10;
const MISSING_TICKS = 5;

/**
 * Calls `onSilent` once, with how long the guest has been silent, when it answers no more.
 * @param nowMs a clock that never goes back
 * @returns what ends the watch
 */
export function watchHeartbeat(
  session: Pick<AgentSession, "request">,
  timing: HeartbeatTiming,
  onSilent: (silentMs: number) => void,
  nowMs: () => number = () => performance.now(),
): () => void {
  const tickMs = Math.min(timing.everyMs, timing.answerMs) / TICKS_PER_PERIOD;
  let lastMs = nowMs();
  let waitedMs = 0;
  let misses = 0;
  let asked: AbortController | undefined;
  const answered = (): void => {
    asked = undefined;
    misses = 0;
    waitedMs = 0;
  };
  const ask = (): void => {
    const ping = new AbortController();
    asked = ping;
    waitedMs = 0;
    // The ticks are its deadline; the session's own would go on while the host is suspended.
    const limits = { signal: ping.signal, deadlineMs: 1_000 * timing.answerMs };
    session.request("system.ping", {}, limits).then(
      () => asked === ping && answered(),
      // A refusal is an answer, too. A lost session is told by itself, and ends this watch through its owner.
      (error: unknown) => asked === ping && error instanceof FlameBoxError && isRefusal(error) && answered(),
    );
  };
  const stop = (): void => {
    clearInterval(timer);
    asked?.abort();
    asked = undefined;
  };
  const tick = (): void => {
    const now = nowMs();
    waitedMs = now - lastMs > MISSING_TICKS * tickMs ? 0 : waitedMs + now - lastMs;
    lastMs = now;
    if (waitedMs < (asked === undefined ? timing.everyMs : timing.answerMs)) return;
    if (asked === undefined) return ask();
    asked.abort();
    if (++misses < timing.misses) return ask();
    stop();
    onSilent(misses * timing.answerMs);
  };
  const timer = setInterval(tick, tickMs);
  timer.unref();
  return stop;
}

function isRefusal(error: FlameBoxError): boolean {
  return error.name === "AgentError";
}
