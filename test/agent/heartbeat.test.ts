/** The heartbeat's arithmetic, on a clock that is moved by hand. test/hostile/ has it against whole machines. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { AgentError } from "../../src/agent/protocol/messages.ts";
import { HEARTBEAT, watchHeartbeat } from "../../src/agent/session/heartbeat.ts";
import type { RequestOptions } from "../../src/agent/session/session.ts";
import { FlameBoxError } from "../../src/util/error.ts";

interface Ping {
  readonly answer: () => void;
  readonly fail: (error: Error) => void;
}

let pings: Ping[];
let silences: number[];
let stop: () => void;
/** What a suspension adds to the clock while no timer runs. */
let sleptMs: number;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
  pings = [];
  silences = [];
  sleptMs = 0;
  const request = async (method: string, _params: object, { signal }: RequestOptions = {}) => {
    expect(method).toBe("system.ping");
    return await new Promise<object>((resolve, reject) => {
      pings.push({ answer: () => resolve({}), fail: reject });
      signal?.addEventListener("abort", () => reject(signal.reason as Error));
    });
  };
  stop = watchHeartbeat(
    { request },
    HEARTBEAT,
    (silentMs) => silences.push(silentMs),
    () => performance.now() + sleptMs,
  );
});
afterEach(() => {
  stop();
  vi.useRealTimers();
});

async function pass(seconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(seconds * 1_000);
}

describe("the heartbeat", () => {
  it("asks every ten seconds, and is content with answers", async () => {
    for (let count = 1; count <= 100; count++) {
      await pass(10);
      expect(pings).toHaveLength(count);
      pings.at(-1)?.answer();
      await pass(0);
    }
    expect(silences).toEqual([]);
  });

  it("gives up after three unanswered pings, which is a minute, and says so once", async () => {
    await pass(10 + 59);
    expect(silences).toEqual([]);
    await pass(1);
    expect(silences).toEqual([60_000]);
    await pass(600);
    expect(silences).toHaveLength(1);
    expect(pings).toHaveLength(3);
  });

  it("starts counting anew with each answer", async () => {
    for (let count = 0; count < 5; count++) {
      await pass(10 + 20 + 20 + 10);
      pings.at(-1)?.answer();
      await pass(0);
    }
    expect(pings).toHaveLength(15);
    expect(silences).toEqual([]);
  });

  it("takes a refusal for an answer", async () => {
    for (let count = 0; count < 20; count++) {
      await pass(10);
      pings.at(-1)?.fail(new AgentError("unknown-method", "what?"));
      await pass(0);
    }
    expect(silences).toEqual([]);
  });

  it("does not take any other failure for one", async () => {
    const fail = (): void => pings.at(-1)?.fail(new FlameBoxError("agent-timeout", "late"));
    await pass(10);
    fail();
    await pass(20);
    fail();
    await pass(40);
    expect(silences).toEqual([60_000]);
  });

  it("does not take the answer to an earlier ping for that to the last", async () => {
    await pass(30);
    const [first] = pings;
    expect(pings).toHaveLength(2);
    first?.answer();
    await pass(40);
    expect(silences).toEqual([60_000]);
  });

  it.each([
    ["before a ping", 5],
    ["while one is under way", 15],
    ["just before the end", 69],
  ])("does not count that the host was suspended %s", async (_name, afterSeconds) => {
    await pass(afterSeconds);
    sleptMs += 8 * 3_600_000;
    await pass(19);
    expect(silences).toEqual([]);
    pings.at(-1)?.answer();
    await pass(60);
    expect(silences).toEqual([]);
  });

  it("ends when it is stopped", async () => {
    await pass(15);
    stop();
    await pass(600);
    expect(pings).toHaveLength(1);
    expect(silences).toEqual([]);
  });
});
