/**
 * What a benchmark reports. Every value is a ratio to a floor that was measured in the same run, or a size:
 * a bare number of seconds would say more about the machine than about the program.
 */
export interface Measurement {
  /** `image.pull_convert` */
  readonly name: string;
  readonly value: number;
  readonly unit: "ratio" | "MB" | "machines";
  /** The value is good when it is at most this; of `machines`, at least. */
  readonly goal: number;
  readonly ok: boolean;
  /** What the value is the median (or, for sizes, the maximum) of. */
  readonly samples: readonly number[];
  /** Of a ratio: the 95th percentile, as a ratio to the same floor. */
  readonly p95?: number;
  /** Of a ratio: the medians that it was made of, in milliseconds of this machine. */
  readonly medianMs?: number;
  readonly floorMs?: number;
}

export interface Benchmark {
  readonly name: string;
  readonly about: string;
  /** Reports progress through `say`, one line a call. */
  run(say: (line: string) => void): Promise<Measurement[]>;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  const lower = sorted[sorted.length % 2 === 1 ? middle : middle - 1];
  if (upper === undefined || lower === undefined) throw new Error("the median of nothing");
  return (lower + upper) / 2;
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** The median of the samples over the median of the floor's; `samples` are ratios to that median floor. */
export function ratio(
  name: string,
  goal: number,
  samplesMs: readonly number[],
  floorMs: readonly number[],
): Measurement {
  const floor = median(floorMs);
  const value = median(samplesMs) / floor;
  return {
    name,
    value: rounded(value),
    unit: "ratio",
    goal,
    ok: value <= goal,
    samples: samplesMs.map((ms) => rounded(ms / floor)),
  };
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)];
  if (value === undefined) throw new Error("a percentile of nothing");
  return value;
}

/** As `ratio`, with what it was made of. */
export function compare(
  name: string,
  goal: number,
  samplesMs: readonly number[],
  floorMs: readonly number[],
): Measurement {
  const floor = median(floorMs);
  return {
    ...ratio(name, goal, samplesMs, floorMs),
    p95: rounded(percentile(samplesMs, 0.95) / floor),
    medianMs: rounded(median(samplesMs)),
    floorMs: rounded(floor),
  };
}

export function atLeast(name: string, goal: number, count: number): Measurement {
  return { name, value: count, unit: "machines", goal, ok: count >= goal, samples: [count] };
}

export function largest(name: string, goal: number, samplesMb: readonly number[]): Measurement {
  const value = Math.max(...samplesMb);
  return {
    name,
    value: rounded(value),
    unit: "MB",
    goal,
    ok: value <= goal,
    samples: samplesMb.map(rounded),
  };
}
