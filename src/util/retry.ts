/**
 * Retry with exponential backoff and full jitter. Whether an error is worth another try is the error's own
 * word (`FlameBoxError.temporary`), never the call site's.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { FlameBoxError } from "./error.ts";

export interface RetryOptions {
  /** Tries in all, the first included. */
  readonly attempts?: number;
  readonly baseDelayMs?: number;
  readonly maxDelayMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Told before each further try. */
  readonly onRetry?: (attempt: number, error: FlameBoxError) => void;
  /** The least delay that an error asks for itself (Retry-After), in milliseconds. */
  readonly delayOf?: (error: FlameBoxError) => number | undefined;
}

export async function retry<T>(job: (attempt: number) => Promise<T>, options: RetryOptions = {}): Promise<T> {
  const { attempts = 5, baseDelayMs = 200, maxDelayMs = 10_000, signal, onRetry, delayOf } = options;
  for (let attempt = 1; ; attempt++) {
    try {
      return await job(attempt);
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof FlameBoxError) || !error.temporary || attempt >= attempts) throw error;
      onRetry?.(attempt + 1, error);
      const backoff = Math.random() * Math.min(maxDelayMs, baseDelayMs * 2 ** (attempt - 1));
      const asked = Math.min(delayOf?.(error) ?? 0, maxDelayMs);
      await sleep(Math.max(backoff, asked), undefined, { signal });
    }
  }
}
