/**
 * What of the conformance table takes a caller that acts while the container runs: how it is asked to end, and
 * what its health check says.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { start } from "flamebox";
import type { ContainerOptions, Health, RunningContainer } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { pushVariants } from "../support/busybox-variant.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const NS_PER_S = 1_000_000_000;
/** Says each signal that it gets; ends at USR1 with 11, at RTMIN+3 (37) with 12. */
const traps = `
for n in 15 10 37; do trap "echo got $n" $n; done
trap 'echo got USR1; exit 11' USR1
trap 'echo got RTMIN+3; exit 12' 37
echo ready
while :; do sleep 0.1; done`;
/** Healthy while /tmp/well is there; makes it and takes it away as it is told. */
const patient =
  "echo ready; while read word; do case $word in well) : >/tmp/well;; ill) rm /tmp/well;; esac; done";

const variants = {
  "ends-signal": { config: { StopSignal: "SIGUSR1", Cmd: ["sh", "-c", traps] } },
  "ends-health": {
    config: {
      Cmd: ["sh", "-c", patient],
      User: "www-data",
      Env: ["PATH=/bin", "WHERE=/tmp/well"],
      Healthcheck: {
        Test: ["CMD-SHELL", 'echo "as $(id -un), for $WHERE"; test -e "$WHERE"'],
        Interval: NS_PER_S,
        Timeout: 20 * NS_PER_S,
        Retries: 2,
      },
    },
  },
} as const;

let home: Home;
let images: Record<keyof typeof variants, string>;
beforeAll(async () => {
  [home, images] = await Promise.all([
    makeHome(inject("kernelDir")),
    pushVariants(inject("registry"), variants),
  ]);
});
afterAll(async () => {
  const left = await home.leftovers();
  await home[Symbol.asyncDispose]();
  if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
});

interface Watched extends AsyncDisposable {
  readonly container: RunningContainer;
  output(): string;
}

/** Started, and "ready" shown. */
async function ready(
  image: keyof typeof variants,
  options: Partial<ContainerOptions> = {},
): Promise<Watched> {
  const common = { paths: home.paths, dockerConfig: null };
  const container = await start(images[image], { ...common, ...options });
  let output = "";
  container.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  while (!output.includes("ready\n")) await sleep(20);
  return {
    container,
    output: () => output,
    [Symbol.asyncDispose]: async () => await container[Symbol.asyncDispose](),
  };
}

async function until<T>(look: () => T | undefined | false, what: () => string): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const seen = look();
    if (seen !== undefined && seen !== false) return seen;
    if (Date.now() > deadline) throw new Error(`it did not come to it: ${what()}`);
    await sleep(50);
  }
}

describe("stop", () => {
  test("sends the image's StopSignal", async () => {
    await using watched = await ready("ends-signal");
    expect(await watched.container.stop()).toMatchObject({ code: 11 });
    expect(watched.output()).toBe("ready\ngot USR1\n");
  });

  test("sends --stop-signal instead, real-time ones too", async () => {
    await using watched = await ready("ends-signal", { stopSignal: "SIGRTMIN+3" });
    expect(await watched.container.stop()).toMatchObject({ code: 12 });
    expect(watched.output()).toBe("ready\ngot RTMIN+3\n");
  });

  test("kills what does not listen, after its time, and not before", async () => {
    await using watched = await ready("ends-signal", { stopSignal: "15", stopTimeoutMs: 2000 });
    const begun = performance.now();
    expect(await watched.container.stop()).toMatchObject({ code: 137, signal: 9, oomKilled: false });
    expect(performance.now() - begun).toBeGreaterThan(1900);
    expect(performance.now() - begun).toBeLessThan(20_000);
    expect(watched.output()).toBe("ready\ngot 15\n");
  });
});

describe("out of memory", () => {
  const eat = "tail /dev/zero";
  test.each([
    ["process 1", ["sh", "-c", `echo ready; exec ${eat}`], { code: 137, signal: 9, oomKilled: true }],
    ["another process", ["sh", "-c", `echo ready; ${eat}; exit 5`], { code: 5, oomKilled: true }],
    ["none", ["sh", "-c", "echo ready; kill -9 $(sleep 9 & echo $!); exit 6"], { code: 6, oomKilled: false }],
  ] as const)("%s", async (_name, command, exit) => {
    await using watched = await ready("ends-signal", { command, memoryMib: 64 });
    expect(await watched.container.wait()).toMatchObject(exit);
  });
});

describe("health", () => {
  test("the image's check: starting, unhealthy after its retries, healthy at the first success", async () => {
    const statuses: Health["status"][] = [];
    await using watched = await ready("ends-health", {
      interactive: true,
      onHealth: ({ status }) => statuses.push(status),
    });
    const { container } = watched;
    const is = (status: Health["status"]): Promise<true> =>
      until(
        () => container.health?.status === status,
        () => JSON.stringify(container.health),
      );
    expect(container.health).toMatchObject({ status: "starting", failingStreak: 0, log: [] });
    await is("unhealthy");
    expect(container.health?.failingStreak).toBeGreaterThanOrEqual(2);
    expect(container.health?.log[0]).toMatchObject({ exitCode: 1, output: "as www-data, for /tmp/well\n" });
    container.stdin?.write("well\n");
    await is("healthy");
    expect(container.health).toMatchObject({ failingStreak: 0 });
    container.stdin?.write("ill\n");
    await is("unhealthy");
    expect(container.health?.log.length).toBeLessThanOrEqual(5);
    expect(statuses).toEqual(["unhealthy", "healthy", "unhealthy"]);
    container.stdin?.end();
    expect(await container.wait()).toMatchObject({ code: 0 });
  });

  test("a check that takes too long has failed; failures of the start period do not count", async () => {
    await using watched = await ready("ends-health", {
      interactive: true,
      healthcheck: {
        test: ["CMD", "sleep", "1000"],
        timeoutMs: 500,
        retries: 1,
        startPeriodMs: 4000,
        startIntervalMs: 200,
      },
    });
    const { container } = watched;
    const first = await until(
      () => container.health?.log[0],
      () => JSON.stringify(container.health),
    );
    expect(first.exitCode).toBe(-1);
    expect(container.health).toMatchObject({ status: "starting", failingStreak: 0 });
    await until(
      () => container.health?.status === "unhealthy",
      () => JSON.stringify(container.health),
    );
  });

  test("--no-healthcheck is none, whatever the image says", async () => {
    await using watched = await ready("ends-health", { interactive: true, healthcheck: false });
    await sleep(2000);
    expect(watched.container.health).toBeUndefined();
  });
});
