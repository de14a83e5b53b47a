/** Waiting for one answer of the guest: it comes, its time is up, or the caller does not want it any more. */
import { FlameBoxError } from "../../util/error.ts";

export interface Limits {
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Waiter {
  readonly resolve: (value: object) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * @param begin is called at once, with what settles the promise
 * @throws FlameBoxError `agent-timeout`; the signal's reason; whatever the waiter is rejected with
 */
export async function withDeadline(
  what: string,
  { deadlineMs, signal }: Limits,
  begin: (waiter: Waiter) => void,
): Promise<object> {
  let cleanUp = (): void => {};
  try {
    return await new Promise<object>((resolve, reject) => {
      const timer = setTimeout(() => reject(timedOut(what, deadlineMs)), deadlineMs);
      // The promise rejects with whatever reason the caller aborted with.
      const onAbort = (): void => reject(signal?.reason as Error);
      signal?.addEventListener("abort", onAbort, { once: true });
      cleanUp = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
      begin({ resolve, reject });
    });
  } finally {
    cleanUp();
  }
}

export function timedOut(what: string, deadlineMs: number): FlameBoxError {
  return new FlameBoxError("agent-timeout", `the guest did not give ${what} within ${deadlineMs / 1000} s`, {
    temporary: true,
  });
}
