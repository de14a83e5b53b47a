/**
 * One run of one target: inputs from its generator and changed ones of a corpus, checked until one fails or there have
 * been enough. With `coverage`, what reaches new code joins the corpus; without it, the corpus is what was generated
 * first. The same seed gives the same inputs.
 */
import * as fc from "fast-check";
import { addTo, overlap, removeFrom } from "./coverage.ts";
import type { Coverage, Reached } from "./coverage.ts";
import { Random, mutated } from "./mutate.ts";
import type { FuzzTarget } from "./target.ts";

export interface RunOptions {
  readonly runs: number;
  readonly seed: number;
  readonly coverage?: Coverage | undefined;
  readonly onProgress?: ((done: number, corpusSize: number) => void) | undefined;
}

export interface RunResult {
  /** Inputs checked. */
  readonly runs: number;
  readonly corpusSize: number;
  readonly failure?: { readonly input: Uint8Array; readonly error: unknown } | undefined;
}

const BATCH = 512;
const FIRST = 256;
/** One input of so many is a new one of the generator. */
const FRESH = 16;
const MAX_CORPUS = 4096;
const NEWEST = 8;

export async function runTarget(target: FuzzTarget, options: RunOptions): Promise<RunResult> {
  const { runs, seed, coverage, onProgress } = options;
  const random = new Random(seed);
  const fresh = generated(target, seed);
  const corpus: Uint8Array[] = Array.from({ length: Math.min(FIRST, runs) }, () => fresh());
  const guide = coverage === undefined ? undefined : new Guide(target, corpus, coverage);
  let done = 0;
  for (let batch: readonly Uint8Array[] = corpus.slice(); ; ) {
    const failure = await checkAll(target, batch);
    done += batch.length;
    if (failure !== undefined) return { runs: done, corpusSize: corpus.length, failure };
    await guide?.look(batch);
    onProgress?.(done, corpus.length);
    const left = Math.min(BATCH, runs - done);
    if (left <= 0) return { runs: done, corpusSize: corpus.length };
    batch = Array.from({ length: left }, () => next(target, corpus, { fresh, random }));
  }
}

async function checkAll(target: FuzzTarget, inputs: readonly Uint8Array[]): Promise<RunResult["failure"]> {
  for (const input of inputs) {
    try {
      // Only what is a promise is waited for: a turn of the event loop costs more than most checks.
      const answer = target.check(input);
      if (answer !== undefined) await answer;
    } catch (error) {
      return { input, error };
    }
  }
  return undefined;
}

function next(
  target: FuzzTarget,
  corpus: readonly Uint8Array[],
  { fresh, random }: { readonly fresh: () => Uint8Array; readonly random: Random },
): Uint8Array {
  if (random.below(FRESH) === 0) return fresh();
  // What has led to new code is worth more than what was generated, and the newest of it most.
  const pick = (): Uint8Array => {
    const share = random.below(4);
    const from =
      share > 1 ? 0 : Math.max(Math.min(FIRST, corpus.length - 1), share === 1 ? corpus.length - NEWEST : 0);
    return corpus[from + random.below(corpus.length - from)] ?? new Uint8Array(0);
  };
  const input = mutated(pick(), pick(), random);
  if (random.below(2) === 0) target.repair?.(input);
  return input;
}

/** Inputs of the generator, without end; made a thousand at a time, which is quicker than one by one. */
function generated(target: FuzzTarget, seed: number): () => Uint8Array {
  let ready: Uint8Array[] = [];
  let round = 0;
  return () => {
    if (ready.length === 0)
      ready = fc.sample(target.inputs, { seed: seed + round++, numRuns: 1000 }).toReversed();
    return ready.pop() ?? new Uint8Array(0);
  };
}

/** At most so many inputs of one batch join the corpus. */
const MAX_KEPT = 8;

/** Keeps what reaches new code. */
class Guide {
  readonly #target: FuzzTarget;
  readonly #corpus: Uint8Array[];
  readonly #coverage: Coverage;
  readonly #seen: Reached = new Map();

  constructor(target: FuzzTarget, corpus: Uint8Array[], coverage: Coverage) {
    this.#target = target;
    this.#corpus = corpus;
    this.#coverage = coverage;
  }

  /** `batch` is what has been checked since the last look. */
  async look(batch: readonly Uint8Array[]): Promise<void> {
    const isFirst = this.#seen.size === 0;
    const found = addTo(this.#seen, this.#coverage.take());
    // The first batch is the corpus itself.
    if (isFirst) return;
    for (let kept = 0; found.size > 0 && kept < MAX_KEPT; kept++) {
      const input = await this.#reaching(found, batch);
      if (this.#corpus.length < MAX_CORPUS) this.#corpus.push(input);
      await checkAll(this.#target, [input]);
      // Where it did so in the batch, and alone does not, what others had left behind counted, too.
      if (!removeFrom(found, this.#coverage.take())) return;
    }
  }

  /** An input that reaches some of it: looked for by halves. */
  async #reaching(wanted: Reached, batch: readonly Uint8Array[]): Promise<Uint8Array> {
    let part = batch;
    while (part.length > 1) {
      const half = part.slice(0, part.length >> 1);
      await checkAll(this.#target, half);
      part = overlap(wanted, this.#coverage.take()) ? half : part.slice(half.length);
    }
    return part[0] ?? new Uint8Array(0);
  }
}
