/** What an `AbortSignal` ends: a wait, or a stream. */

/** Something that can be broken off: a stream, a channel. */
interface Breakable {
  destroy(error?: Error): unknown;
  once(event: "close", listener: () => void): unknown;
}

/**
 * Waits for `promise`, but not beyond the signal: what was asked for may happen all the same.
 * @throws the signal's reason
 */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  // Whoever waits no longer does not want to hear of it either.
  promise.catch(() => {});
  signal.throwIfAborted();
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Has the signal break the stream off, with its reason, as long as it is open. */
export function breakOff(stream: Breakable, signal: AbortSignal | undefined): void {
  if (signal === undefined) return;
  const abort = (): void => void stream.destroy(signal.reason as Error);
  if (signal.aborted) {
    abort();
    return;
  }
  signal.addEventListener("abort", abort, { once: true });
  stream.once("close", () => signal.removeEventListener("abort", abort));
}
