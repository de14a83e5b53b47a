/**
 * What is done to a container while it runs, on every VMM. Run by a test file a driver, with a way to start containers of
 * an image that has busybox.
 */
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { ContainerOptions, RunningContainer } from "../../src/container/options.ts";

/** Starts a container of the busybox image. */
export type StartContainer = (options: ContainerOptions) => Promise<RunningContainer>;

const COUNTING = "trap 'exit 5' TERM; n=0; while :; do n=$((n+1)); echo $n >/count; sleep 0.05; done";
const PATIENCE_MS = 300_000;

interface Done {
  readonly code: number;
  readonly stdout: string;
}

async function executed(
  container: RunningContainer,
  script: string,
  options: Parameters<RunningContainer["exec"]>[1] & { readonly input?: string } = {},
): Promise<Done> {
  const { input, ...rest } = options;
  const process = await container.exec(["sh", "-c", script], { ...rest, interactive: input !== undefined });
  process.stdin?.end(input);
  const [stdout, , { code }] = await Promise.all([
    text(process.stdout),
    text(process.stderr),
    process.wait(),
  ]);
  return { code, stdout };
}

export function lifeContract(name: string, start: StartContainer): void {
  const options = { timeout: PATIENCE_MS };
  const counting = async (more: ContainerOptions = {}): Promise<RunningContainer> => {
    const container = await start({ command: ["sh", "-c", COUNTING], network: "none", ...more });
    container.stdout.resume();
    container.stderr.resume();
    return container;
  };
  const count = async (container: RunningContainer): Promise<number> =>
    Number((await executed(container, "cat /count")).stdout);

  describe(`a container that runs in ${name}`, () => {
    test("is executed into: streams, user, directory, environment, exit code", options, async () => {
      await using container = await counting();
      const script = "id -u; pwd; echo $GREETING; cat; exit 9";
      expect(
        await executed(container, script, {
          user: "7:8",
          workdir: "/tmp",
          env: { GREETING: "hello" },
          input: "from outside\n",
        }),
      ).toEqual({ code: 9, stdout: "7\n/tmp\nhello\nfrom outside\n" });
      const several = ["1", "2", "3", "4"].map(
        async (digit) => await executed(container, `echo ${digit}; exit ${digit}`),
      );
      expect(await Promise.all(several)).toEqual([1, 2, 3, 4].map((code) => ({ code, stdout: `${code}\n` })));
      await expect(container.exec(["/no/such/program"])).rejects.toMatchObject({ code: "command-not-found" });
    });

    test("is halted, goes on where it was, and has the right time again", options, async () => {
      await using container = await counting();
      while (!((await count(container)) > 0)) await sleep(50);
      const before = await count(container);
      await container.pause();
      expect(container.isPaused).toBe(true);
      await expect(container.pause()).rejects.toMatchObject({ code: "container-paused" });
      await expect(container.exec(["true"])).rejects.toMatchObject({ code: "container-paused" });
      await sleep(5_000);
      await container.unpause();
      await expect(container.unpause()).rejects.toMatchObject({ code: "container-not-paused" });
      const asked = Date.now();
      const { stdout } = await executed(container, "cat /count; date +%s");
      const [after = 0, seconds = 0] = stdout.trim().split("\n").map(Number);
      // Of five seconds that it stood still it has made up none: a hundred steps would be in them.
      expect(after - before).toBeLessThan(60 + (Date.now() - asked) / 50);
      expect(seconds).toBeGreaterThanOrEqual(Math.floor(asked / 1_000));
      expect(seconds).toBeLessThanOrEqual(Math.ceil(Date.now() / 1_000));
      const later = await count(container);
      await sleep(500);
      expect(await count(container)).toBeGreaterThan(later);
    });

    test("tells what it uses, and what its machine costs", options, async () => {
      await using container = await counting();
      const { memoryLimitBytes, machine, ...stats } = await container.stats();
      expect(memoryLimitBytes).toBe(container.memoryLimitBytes);
      expect(stats.memoryBytes).toBeGreaterThan(0);
      expect(stats.memoryBytes).toBeLessThan(memoryLimitBytes);
      expect(stats.pids).toBeGreaterThanOrEqual(1);
      expect(machine.residentBytes).toBeGreaterThan(1 << 20);
    });

    test(
      "is signalled and stopped: the process's own end, the kernel's when it takes no notice",
      options,
      async () => {
        await using willing = await counting();
        while (!((await count(willing)) > 0)) await sleep(50);
        expect(await willing.stop()).toEqual({ code: 5, oomKilled: false });
        expect(await willing.wait()).toEqual({ code: 5, oomKilled: false });
        await using deaf = await start({ command: ["sleep", "1000"], network: "none" });
        expect(await deaf.stop({ timeoutMs: 200 })).toEqual({ code: 137, signal: 9, oomKilled: false });
      },
    );
  });
}
