/** When a container that has ended is started again, and how long that is waited with. Docker's rules. */
import { FlameBoxError } from "../../util/error.ts";
import type { ContainerExit } from "../options.ts";
import type { RestartPolicy } from "./record.ts";
import type { ContainerState } from "./state.ts";
import { LOST_EXIT_CODE } from "./state.ts";

const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 60_000;
/** Who has run for so long begins anew with the waiting. */
const STEADY_MS = 10_000;

/** @param restartCount so often it was started again already */
export function isToRestart(
  { name, maximumRetryCount }: RestartPolicy,
  { code }: Pick<ContainerExit, "code">,
  restartCount: number,
): boolean {
  if (name === "no") return false;
  if (name !== "on-failure") return true;
  return code !== 0 && (maximumRetryCount === 0 || restartCount < maximumRetryCount);
}

/**
 * Whether a container that nobody runs is to be started after the host's boot, or after its process was killed. One that
 * nobody has ever started is not, whatever its policy.
 */
export function isToStartAfterBoot(
  policy: RestartPolicy,
  { startedAt, stopped = false, exitCode = LOST_EXIT_CODE, restartCount }: ContainerState,
): boolean {
  if (startedAt === undefined) return false;
  if (policy.name === "always") return true;
  return !stopped && isToRestart(policy, { code: exitCode }, restartCount);
}

export class Backoff {
  #nextMs = FIRST_BACKOFF_MS;

  /** @param ranMs how long it ran this time */
  nextMs(ranMs: number): number {
    if (ranMs > STEADY_MS) this.#nextMs = FIRST_BACKOFF_MS;
    const waitMs = this.#nextMs;
    this.#nextMs = Math.min(waitMs * 2, MAX_BACKOFF_MS);
    return waitMs;
  }
}

/** Exit codes of containers whose command could not be executed, as Docker has them. */
const START_FAILURES: Readonly<Record<string, number>> = {
  "command-not-found": 127,
  "command-not-executable": 126,
};
const START_FAILURE = 128;

export function codeOfFailure(error: unknown): number {
  return error instanceof FlameBoxError ? (START_FAILURES[error.code] ?? START_FAILURE) : START_FAILURE;
}
