import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import {
  boundOutput,
  delayOf,
  HealthMonitor,
  judge,
  MAX_OUTPUT_BYTES,
  STARTING,
} from "../../src/container/health.ts";
import type { Probe } from "../../src/container/health.ts";
import type { Healthcheck } from "../../src/container/healthcheck.ts";
import { checkHealthcheck, healthcheckOf } from "../../src/container/healthcheck.ts";
import type { Health, HealthcheckOptions, HealthResult } from "../../src/container/options.ts";
import type { ExecutionConfig } from "../../src/oci/config.ts";

const check: Healthcheck = {
  args: ["true"],
  intervalMs: 30_000,
  timeoutMs: 30_000,
  retries: 3,
  startPeriodMs: 0,
  startIntervalMs: 5_000,
};

function result(exitCode: number, output = ""): HealthResult {
  return { startedAt: new Date(0), endedAt: new Date(1), exitCode, output };
}

/** After each of `codes`, one a second from the start on: the status, and the streak. */
function course(codes: readonly number[], change: Partial<Healthcheck> = {}): string[] {
  let health = STARTING;
  return codes.map((code, index) => {
    health = judge(health, result(code), { ...check, ...change }, index * 1_000);
    return `${health.status} ${health.failingStreak}`;
  });
}

describe("health", () => {
  it.each<[string, number[], Partial<Healthcheck>, string[]]>([
    ["well at once", [0], {}, ["healthy 0"]],
    ["failing, but not often enough", [1, 1], {}, ["starting 1", "starting 2"]],
    ["unhealthy after three", [1, 1, -1], {}, ["starting 1", "starting 2", "unhealthy 3"]],
    ["well again", [1, 0], { retries: 1 }, ["unhealthy 1", "healthy 0"]],
    [
      "a streak that is broken",
      [0, 1, 1, 0, 1],
      {},
      ["healthy 0", "healthy 1", "healthy 2", "healthy 0", "healthy 1"],
    ],
    [
      "the start period does not count",
      [1, 1, 1],
      { retries: 1, startPeriodMs: 2_000 },
      ["starting 0", "starting 0", "unhealthy 1"],
    ],
    ["who was well has started", [0, 1], { retries: 1, startPeriodMs: 60_000 }, ["healthy 0", "unhealthy 1"]],
  ])("%s", (_name, codes, change, expected) => {
    expect(course(codes, change)).toEqual(expected);
  });

  it("keeps the last five results", () => {
    let health = STARTING;
    for (let code = 0; code < 9; code++) health = judge(health, result(code), check, 0);
    expect(health.log.map(({ exitCode }) => exitCode)).toEqual([4, 5, 6, 7, 8]);
  });

  it("is looked at more often in the start period", () => {
    const starting = { ...check, startPeriodMs: 60_000 };
    const healthy: Health = { ...STARTING, status: "healthy" };
    expect(delayOf(STARTING, starting, 59_999)).toBe(5_000);
    expect(delayOf(STARTING, starting, 60_000)).toBe(30_000);
    expect(delayOf(healthy, starting, 0)).toBe(30_000);
    expect(delayOf(STARTING, check, 0)).toBe(30_000);
  });

  it("keeps 4096 bytes of output, and whole characters", () => {
    expect(boundOutput("x".repeat(5_000))).toHaveLength(MAX_OUTPUT_BYTES);
    const cut = boundOutput(`x${"ü".repeat(3_000)}`);
    expect(Buffer.byteLength(cut)).toBe(MAX_OUTPUT_BYTES - 1);
    expect(cut.endsWith("ü")).toBe(true);
  });
});

describe("a monitor", () => {
  const quick: Healthcheck = { ...check, intervalMs: 10, timeoutMs: 200, retries: 2 };

  async function until(condition: () => boolean): Promise<void> {
    for (let tries = 0; !condition(); tries++) {
      if (tries > 500) throw new Error("it did not come to be");
      await sleep(10);
    }
  }

  it("tells each change once, and runs one check at a time", async () => {
    const codes = [0, 0, 1, 1, 1, 0];
    const told: string[] = [];
    let running = 0;
    const probe: Probe = async () => {
      expect(++running).toBe(1);
      await sleep(5);
      running--;
      return { exitCode: codes.shift() ?? 0, output: "said" };
    };
    await using monitor = new HealthMonitor(quick, probe, ({ status }) => told.push(status));
    expect(monitor.health.status).toBe("starting");
    await until(() => codes.length === 0 && monitor.health.status === "healthy");
    expect(told).toEqual(["healthy", "unhealthy", "healthy"]);
    expect(monitor.health.log[0]).toMatchObject({ output: "said" });
  });

  it("ends a check that takes too long, and keeps what it said", async () => {
    const probe: Probe = async (signal) => {
      await sleep(60_000, undefined, { signal, ref: false }).catch(() => {});
      return { exitCode: 137, output: "half" };
    };
    await using monitor = new HealthMonitor({ ...quick, retries: 1 }, probe, () => {});
    await until(() => monitor.health.log.length > 0);
    expect(monitor.health).toMatchObject({ status: "unhealthy" });
    expect(monitor.health.log[0]).toMatchObject({
      exitCode: -1,
      output: "the health check took longer than 200 ms: half",
    });
  });

  it("counts a check that cannot be run as failed", async () => {
    const probe: Probe = async () => Promise.reject(new Error("there is no /bin/sh"));
    await using monitor = new HealthMonitor({ ...quick, retries: 1 }, probe, () => {});
    await until(() => monitor.health.status === "unhealthy");
    expect(monitor.health.log[0]).toMatchObject({ exitCode: -1, output: "there is no /bin/sh" });
  });

  it("breaks off with its container, and says nothing of it", async () => {
    const told: string[] = [];
    let begun = false;
    const probe: Probe = async (signal) => {
      begun = true;
      await sleep(60_000, undefined, { signal, ref: false }).catch(() => {});
      return { exitCode: 1, output: "" };
    };
    const monitor = new HealthMonitor({ ...quick, retries: 1 }, probe, ({ status }) => told.push(status));
    await until(() => begun);
    await monitor[Symbol.asyncDispose]();
    expect(told).toEqual([]);
    expect(monitor.health).toEqual(STARTING);
  });
});

describe("a health check", () => {
  const image: ExecutionConfig = {
    Healthcheck: {
      Test: ["CMD", "curl", "localhost"],
      Interval: 5e9,
      Timeout: 2e9,
      Retries: 7,
      StartPeriod: 1e9,
    },
  };

  it.each<[string, ExecutionConfig, HealthcheckOptions | false | undefined, object | undefined]>([
    ["none", {}, undefined, undefined],
    [
      "the image's",
      image,
      undefined,
      {
        args: ["curl", "localhost"],
        intervalMs: 5_000,
        timeoutMs: 2_000,
        retries: 7,
        startPeriodMs: 1_000,
        startIntervalMs: 5_000,
      },
    ],
    [
      "the image's, slower",
      image,
      { intervalMs: 60_000 },
      { args: ["curl", "localhost"], intervalMs: 60_000, retries: 7 },
    ],
    [
      "another command",
      image,
      { test: ["CMD-SHELL", "test -e /ok"] },
      { args: ["/bin/sh", "-c", "test -e /ok"], retries: 7 },
    ],
    [
      "in the image's shell",
      { ...image, Shell: ["/bin/bash", "-ec"] },
      { test: ["CMD-SHELL", "x"] },
      { args: ["/bin/bash", "-ec", "x"] },
    ],
    [
      "Docker's defaults",
      {},
      { test: ["CMD", "x"] },
      { args: ["x"], intervalMs: 30_000, timeoutMs: 30_000, retries: 3, startPeriodMs: 0 },
    ],
    ["switched off", image, false, undefined],
    ["switched off by the image", { Healthcheck: { Test: ["NONE"] } }, { intervalMs: 5 }, undefined],
    ["inherited from nobody", { Healthcheck: { Test: [] } }, undefined, undefined],
    ["of a form that there is not", { Healthcheck: { Test: ["SHELL", "x"] } }, undefined, undefined],
    [
      "less than a millisecond, from an image",
      { Healthcheck: { Test: ["CMD", "x"], Interval: 5 } },
      undefined,
      { intervalMs: 1 },
    ],
    [
      "beyond all time, from an image",
      { Healthcheck: { Test: ["CMD", "x"], Interval: 2 ** 53 - 1 } },
      undefined,
      { intervalMs: 2 ** 31 - 1 },
    ],
  ])("%s", (_name, config, options, expected) => {
    expect({ made: healthcheckOf(config, options) }).toMatchObject({ made: expected });
  });

  it.each<[string, HealthcheckOptions]>([
    ["no time at all", { intervalMs: 0.5 }],
    ["negative time", { timeoutMs: -1 }],
    ["time that no timer has", { startPeriodMs: 2 ** 31 }],
    ["half a try", { retries: 1.5 }],
    ["a test of no form", { test: ["curl"] }],
    ["a test without a command", { test: ["CMD"] }],
    ["two commands for one shell", { test: ["CMD-SHELL", "a", "b"] }],
    ["NUL", { test: ["CMD", "a\0b"] }],
  ])("is refused with %s", (_name, options) => {
    expect(() => checkHealthcheck(options)).toThrow(expect.objectContaining({ code: "invalid-option" }));
  });
});
