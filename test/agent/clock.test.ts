/** A machine's clock is set once where the host has time for it, and again where it had not. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { setTime } from "../../src/agent/client.ts";

test.each([
  ["an answer at once is all", [0], 1],
  ["an answer that was late is not believed", [120, 120, 0, 0], 3],
  ["a host that is always late is not waited for without end", [120, 120, 120, 120, 120], 4],
])("%s", async (_, delaysMs, times) => {
  const told: number[] = [];
  const request = async (method: string, params: object): Promise<unknown> => {
    expect(method).toBe("system.configure");
    const { time } = params as { time: { seconds: number; nanoseconds: number } };
    told.push(time.seconds * 1000 + time.nanoseconds / 1_000_000);
    return await sleep(delaysMs[told.length - 1]);
  };
  const began = Date.now();
  await setTime({ request } as Parameters<typeof setTime>[0]);
  expect(told).toHaveLength(times);
  // Each is the time of then, and none that was read before the wait.
  for (const [n, timeMs] of told.entries())
    expect(timeMs - began).toBeGreaterThanOrEqual(delaysMs.slice(0, n).reduce((a, b) => a + b, 0) - 2);
});
