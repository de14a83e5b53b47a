/** Starts at once: eight at a time, eighty in all, none of which may fail. */
import { limit } from "../src/util/limit.ts";
import { timeMs } from "./floors.ts";
import { median, percentile } from "./measurement.ts";
import type { Measurement } from "./measurement.ts";
import type { Setting } from "./start.ts";

const AT_ONCE = 8;
const STARTS = 80;

export async function measureParallel(
  { flamebox, env, image, say }: Setting,
  singleMs: readonly number[],
): Promise<Measurement[]> {
  const limited = limit(AT_ONCE);
  const command = [...flamebox, "run", "--quiet", "--rm", image, "true"];
  const started = performance.now();
  // One that ends with another code than 0 rejects.
  const samples = await Promise.all(
    Array.from({ length: STARTS }, async () => await limited(async () => await timeMs(command, env))),
  );
  const seconds = (performance.now() - started) / 1_000;
  say(`${STARTS} starts, ${AT_ONCE} at a time, in ${seconds.toFixed(1)} s, none failed`);
  const single = median(singleMs);
  const p95 = percentile(samples, 0.95);
  const goal = 4;
  const value = Math.round((p95 / single) * 1_000) / 1_000;
  const ratios = samples.map((ms) => Math.round((ms / single) * 1_000) / 1_000);
  return [
    {
      name: "start.parallel",
      value,
      unit: "ratio",
      goal,
      ok: value <= goal,
      samples: ratios,
      floorMs: single,
    },
  ];
}
