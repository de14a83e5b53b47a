/**
 * Which code an input reaches, as V8 counts it: the program's own source, executed since it was asked last. Asking takes
 * a millisecond or more, so one asks about many inputs at once.
 *
 * V8 tells ranges with their counts, inner ones within outer ones, and leaves out those that say nothing new; so ranges
 * are no names of blocks. What is kept is, for each function, which of its characters were executed.
 */
import { Session } from "node:inspector";
import type { Profiler } from "node:inspector";

/** By function: 1 for each character of its source that was executed. */
export type Reached = Map<string, Uint8Array>;

export class Coverage implements Disposable {
  readonly #session = new Session();
  readonly #isOurs: (url: string) => boolean;

  /** `isOurs` picks the scripts that count. Functions that have run before are seen only as wholes. */
  constructor(isOurs: (url: string) => boolean) {
    this.#isOurs = isOurs;
    this.#session.connect();
    this.#post("Profiler.enable");
    this.#post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** What was executed since the last call. */
  take(): Reached {
    const reached: Reached = new Map();
    const { result } = this.#post("Profiler.takePreciseCoverage") as Profiler.TakePreciseCoverageReturnType;
    for (const { url, scriptId, functions } of result) {
      if (!this.#isOurs(url)) continue;
      for (const { ranges } of functions) {
        const [whole] = ranges;
        if (whole === undefined || whole.count === 0) continue;
        const executed = new Uint8Array(whole.endOffset - whole.startOffset);
        // Outer ranges come before those within them.
        for (const { startOffset, endOffset, count } of ranges)
          executed.fill(count > 0 ? 1 : 0, startOffset - whole.startOffset, endOffset - whole.startOffset);
        reached.set(`${scriptId}:${whole.startOffset}`, executed);
      }
    }
    return reached;
  }

  /** The session is of the same thread, which answers before `post` returns. */
  #post(method: string, parameters: object = {}): unknown {
    let answer: unknown;
    this.#session.post(method as never, parameters as never, (error: Error | null, result: unknown) => {
      if (error !== null) throw error;
      answer = result;
    });
    return answer;
  }

  [Symbol.dispose](): void {
    this.#session.disconnect();
  }
}

/** Adds to `seen`. Returns what was not in it. */
export function addTo(seen: Reached, reached: Reached): Reached {
  const added: Reached = new Map();
  for (const [name, executed] of reached) {
    const before = seen.get(name);
    if (before === undefined) {
      seen.set(name, executed.slice());
      added.set(name, executed);
      continue;
    }
    const fresh = executed.map((one, at) => (one === 1 && before[at] === 0 ? 1 : 0));
    if (!fresh.includes(1)) continue;
    added.set(name, fresh);
    for (const [at, one] of fresh.entries()) if (one === 1) before[at] = 1;
  }
  return added;
}

/** Takes what was reached from `wanted`. Returns whether there was any. */
export function removeFrom(wanted: Reached, reached: Reached): boolean {
  let found = false;
  for (const [name, missing] of wanted) {
    const executed = reached.get(name);
    if (executed === undefined || !missing.some((one, at) => one === 1 && executed[at] === 1)) continue;
    found = true;
    const left = missing.map((one, at) => (executed[at] === 1 ? 0 : one));
    if (left.includes(1)) wanted.set(name, left);
    else wanted.delete(name);
  }
  return found;
}

export function overlap(wanted: Reached, reached: Reached): boolean {
  return removeFrom(new Map(wanted), reached);
}
