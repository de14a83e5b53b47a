/**
 * What a benchmark reports. Every value is a ratio to a floor that was measured in the same run, or a size:
 * a bare number of seconds would say more about the machine than about the program.
 */
export interface Measurement {
  /** `image.pull_convert` */
  readonly name: string;
  readonly value: number;
  readonly unit: "ratio" | "MB";
  /** The value is good when it is at most this. */
  readonly goal: number;
  readonly ok: boolean;
  /** What the value is the median (or, for sizes, the maximum) of. */
  readonly samples: readonly number[];
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
