/** Each fuzz target for a moment; `npm run fuzz` goes on for as long as one likes. */
import { expect, test } from "vitest";
import { Coverage } from "./coverage.ts";
import { runTarget } from "./run.ts";
import { Fault } from "./target.ts";
import type { FuzzTarget } from "./target.ts";
import * as fc from "fast-check";
import { TARGETS } from "./targets/all.ts";

const RUNS = 3000;
/** zlib's streams cost a millisecond each. */
const SLOW = new Set(["gzip", "zstd"]);

test.each(TARGETS)("$name", async (target) => {
  const { failure } = await runTarget(target, { runs: SLOW.has(target.name) ? 400 : RUNS, seed: 20_240_117 });
  expect(failure).toBeUndefined();
});

/** Takes four half bytes, one after the other: by chance alone, one input of 65,536 or fewer fails. */
function lock(input: Uint8Array): void {
  if ((input[0] ?? 0) >> 4 !== 0xd) return;
  if ((input[1] ?? 0) >> 4 !== 0xc) return;
  if ((input[2] ?? 0) >> 4 !== 0xb) return;
  if ((input[3] ?? 0) >> 4 === 0xa) throw new Fault("open");
}

test("what reaches new code is kept, so that the runner gets where chance does not", async () => {
  const target: FuzzTarget = { name: "lock", inputs: fc.constant(Uint8Array.of(1, 2, 3, 4)), check: lock };
  using coverage = new Coverage((url) => url.includes("targets.test"));
  const guided = await runTarget(target, { runs: 100_000, seed: 1, coverage });
  expect(guided.failure?.error).toEqual(new Fault("open"));
  const { failure, runs } = await runTarget(target, { runs: guided.runs, seed: 1 });
  expect([failure, runs]).toEqual([undefined, guided.runs]);
});

test("the same seed gives the same inputs", async () => {
  const seen = async (seed: number): Promise<string[]> => {
    const inputs: string[] = [];
    const check = (input: Uint8Array): void => void inputs.push(Buffer.from(input).toString("hex"));
    const target: FuzzTarget = { name: "x", inputs: fc.uint8Array({ minLength: 1 }), check };
    await runTarget(target, { runs: 2000, seed });
    return inputs;
  };
  const [a, b, c] = [await seen(1), await seen(1), await seen(2)];
  expect(a).toEqual(b);
  expect(a).not.toEqual(c);
});
