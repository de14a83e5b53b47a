/**
 * The least speed of a body. Deadlines between two pieces do not help against a server that sends a byte every ten
 * seconds: 4 MiB would take a year. Only the time that is spent waiting for the server counts, so that a reader may
 * take as long as it likes.
 */
import { SourceError } from "../error.ts";

export interface Pace {
  /** Of waiting. */
  readonly windowMs: number;
  /** Fewer in a window are an error. */
  readonly minBytes: number;
}

export const DEFAULT_PACE: Pace = { windowMs: 60_000, minBytes: 16 * 1024 };

/** @throws SourceError `registry-timeout`, temporary */
export async function* paced(
  body: AsyncIterable<Uint8Array>,
  { windowMs, minBytes }: Pace,
  host: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  let waitedMs = 0;
  let gotBytes = 0;
  let sinceMs = performance.now();
  for await (const chunk of body) {
    waitedMs += performance.now() - sinceMs;
    gotBytes += chunk.length;
    if (waitedMs >= windowMs) {
      if (gotBytes < minBytes) {
        const message = `registry ${host} is too slow: ${gotBytes} bytes in ${Math.round(waitedMs)} ms`;
        throw new SourceError("registry-timeout", message, { temporary: true });
      }
      waitedMs = gotBytes = 0;
    }
    yield chunk;
    sinceMs = performance.now();
  }
}
