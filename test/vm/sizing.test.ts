/** A machine fits its container: all of the memory that was promised, the CPUs that were named, and an end in time. */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import type { ContainerOptions } from "../../src/container/options.ts";
import { run } from "../../src/container/run.ts";
import { start } from "../../src/container/start.ts";
import { allowedCpus } from "../../src/machine/host-cpus.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";
import { rows } from "../support/long.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
let home: Home;
beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

const shell = (script: string): ContainerOptions => ({
  paths: home.paths,
  dockerConfig: null,
  network: "none",
  command: ["sh", "-c", script],
});

/** The only VMM that runs from this home. */
function vmmOf({ paths }: Home): number {
  const found = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "latin1");
        // Its program is QEMU; what holds it names QEMU further behind.
        return /^[^\0]*qemu-system/.test(line) && line.includes(paths.dataDir);
      } catch {
        return false;
      }
    });
  expect(found).toHaveLength(1);
  return Number(found[0]);
}

describe("memory", () => {
  test.each(rows([64, 388], [16, 1500]))(
    "of %i MiB can be used up to the last few, and not further",
    async (memoryMib) => {
      // A tmpfs cannot be written back, so this is memory for good; the shell and its page tables need the rest.
      const script = `
      cat /sys/fs/cgroup/memory.max
      dd if=/dev/zero of=/fill/x bs=1M count=${memoryMib - 6} 2>/dev/null && stat -c %s /fill/x
      grep -c . /sys/fs/cgroup/memory.events; grep '^oom_kill ' /sys/fs/cgroup/memory.events
      exec dd if=/dev/zero of=/fill/y bs=1M count=64 2>/dev/null`;
      const tmpfs = [{ target: "/fill", options: ["size=100%"] }];
      const result = await run(busybox, { ...shell(script), memoryMib, tmpfs });
      const [limit, filled, , kills] = result.stdout.toString().split("\n");
      expect(limit).toBe(String(memoryMib << 20));
      expect(filled).toBe(String((memoryMib - 6) << 20));
      expect(kills).toBe("oom_kill 0");
      expect(result).toMatchObject({ code: 137, signal: 9, oomKilled: true });
    },
  );

  test("that is used up is told in one line, with the limit", async () => {
    const ended = await home.run([
      "run",
      "--rm",
      "-m",
      "64m",
      "--network",
      "none",
      busybox,
      "tail",
      "/dev/zero",
    ]);
    expect(ended.code).toBe(137);
    expect(ended.stderr).toContain("flamebox: killed: out of memory (limit 64 MiB); raise --memory\n");
  });

  test("that a child has used up is told, though its parent goes on", async () => {
    const result = await run(busybox, { ...shell("tail /dev/zero; exit 3"), memoryMib: 32 });
    expect(result).toMatchObject({ code: 3, oomKilled: true });
    expect(result.signal).toBeUndefined();
  });
});

describe("CPUs", () => {
  test("are vCPUs, rounded up, and a quota", async () => {
    const { stdout } = await run(busybox, { ...shell("nproc; cat /sys/fs/cgroup/cpu.max"), cpus: 1.5 });
    expect(stdout.toString()).toBe("2\n150000 100000\n");
  });

  test("of this host are those that were named, for every thread of the VMM", async () => {
    const [cpu = 0] = (await allowedCpus()).slice(-1);
    await using container = await start(busybox, { ...shell("sleep 1000"), cpusetCpus: String(cpu) });
    expect(container.machine).toContain("qemu");
    const tasks = `/proc/${vmmOf(home)}/task`;
    const lists = readdirSync(tasks).map(
      (task) => /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync(`${tasks}/${task}/status`, "utf8"))?.[1],
    );
    expect(lists.length).toBeGreaterThan(1);
    expect(new Set(lists)).toEqual(new Set([String(cpu)]));
  });
});

test("a limit without end is one, for the kernel as well", async () => {
  const ulimits = [{ name: "memlock", soft: -1, hard: -1 }];
  const { stdout } = await run(busybox, { ...shell("grep locked /proc/self/limits"), ulimits });
  expect(stdout.toString()).toMatch(/unlimited +unlimited/);
});

test("a machine that has stopped answering is ended all the same", async () => {
  await using container = await start(busybox, shell("sleep 1000"));
  process.kill(vmmOf(home), "SIGSTOP");
  const startedMs = Date.now();
  expect(await container.stop({ timeoutMs: 100 })).toEqual({ code: 137, signal: 9, oomKilled: false });
  expect(Date.now() - startedMs).toBeLessThan(30_000);
  expect(await container.wait()).toMatchObject({ code: 137 });
});

test("after all of this nothing is left", async () => {
  expect(await home.leftovers()).toEqual([]);
});
