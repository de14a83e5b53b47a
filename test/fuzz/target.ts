/**
 * What is fuzzed: a function on bytes that somebody else wrote, and what such bytes usually look like. `npm test` runs
 * each target for a moment (targets.test.ts), `npm run fuzz -- TARGET --runs N --seed S` as long as one likes (main.ts).
 */
import * as fc from "fast-check";

export interface FuzzTarget {
  readonly name: string;
  /** What begins a run, and from what others are made by changing bytes. */
  readonly inputs: fc.Arbitrary<Uint8Array>;
  /** Sets checksums right, so that more than their comparison is reached. Half of the changed inputs pass through it. */
  repair?(input: Uint8Array): void;
  /** Throws when the bytes are neither read as they should be nor refused as they should be. */
  check(input: Uint8Array): void | Promise<void>;
}

/** A fault of what is fuzzed, and not of the input. */
export class Fault extends Error {
  override readonly name = "Fault";
}

export function demand(condition: boolean, what: () => string): asserts condition {
  if (!condition) throw new Fault(what());
}

/** What `parse` gives; undefined when it refuses with an error of that kind, whose message is fit to be shown. */
export function parsedOr<T>(kind: abstract new (...args: never) => Error, parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof kind)) throw error;
    demand(error.message.length < 1000 && !/\p{Cc}/u.test(error.message), () => `says ${error.message}`);
    return undefined;
  }
}

/** A generated text as bytes. */
export const utf8 = (text: fc.Arbitrary<string>): fc.Arbitrary<Uint8Array> =>
  text.map((value) => Buffer.from(value, "utf8"));

/** Some choice for the target, made by the first byte of its input. */
export function choiceOf(input: Uint8Array, count: number): { choice: number; rest: Uint8Array } {
  return { choice: (input[0] ?? 0) % count, rest: input.subarray(1) };
}

export const withChoice = (count: number, bytes: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc.tuple(fc.nat(count - 1), bytes).map(([choice, rest]) => Buffer.concat([Uint8Array.of(choice), rest]));

/** The same bytes in pieces of odd sizes, which `seed` decides. */
export function* inPieces(bytes: Uint8Array, seed: number): Generator<Uint8Array, void, undefined> {
  let state = (seed + 1) * 2_654_435_761;
  for (let at = 0; at < bytes.length; ) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    const size = 1 + ((state >>> 16) % (seed % 2 === 0 ? 1500 : 40));
    yield bytes.subarray(at, at + size);
    at += size;
  }
}
