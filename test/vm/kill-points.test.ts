/**
 * kill -9 of whoever is at work on a container, at moments spread over what it does: the command, the monitor, the VMM.
 * The next command tells what is so, `rm` works, and nothing is left. FLAMEBOX_TEST_KILLS sets how many moments.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const KILLS = Number(process.env["FLAMEBOX_TEST_KILLS"] ?? 9);
const RUN = ["run", "-q", "-d", "--name", "victim", "--network", "none", busybox, "sleep", "1000"];
let home: Home;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  const pulled = await home.run(["pull", "-q", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
  // Both kinds of template are there from now on: what is killed is a container's start.
  await home.run(RUN);
  await home.run(["restart", "-t", "0", "victim"]);
  await home.run(["rm", "-f", "victim"]);
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

interface Listed {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly exitCode?: number;
}

async function list(): Promise<Listed[]> {
  const { code, stdout, stderr } = await home.run(["ps", "-a", "--json"]);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Listed[];
}

function pidsLike(pattern: RegExp): number[] {
  return home
    .processes()
    .filter(({ command }) => pattern.test(command))
    .map(({ pid }) => pid);
}

function kill(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has just ended.
    }
  }
}

const MONITOR = /dist\/monitor\/main\.js/;
const VMM = /qemu-system/;

/** What the state says is what is so: whoever is up answers, whoever is not has no process. */
async function untruths(): Promise<string[]> {
  const untrue: string[] = [];
  for (const { name, status } of await list()) {
    const { code } = await home.run(["exec", name, "true"]);
    if ((code === 0) !== (status === "running")) untrue.push(`${name} is said to be ${status}`);
  }
  return untrue;
}

/** What is left once all has been removed. */
async function removeAll(): Promise<unknown[]> {
  const ids = (await list()).map(({ id }) => id);
  if (ids.length > 0) await fine("rm", "-f", ...ids);
  return [...(await list()), ...(await home.leftovers())];
}

async function fine(...args: string[]): Promise<void> {
  const { code, stderr } = await home.run(args);
  if (code !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
}

/** Starts a command, and kills what `victims` finds when `delayMs` have passed. */
async function killDuring(
  args: readonly string[],
  delayMs: number,
  victims: (command: number) => readonly number[],
): Promise<void> {
  const running = home.spawn(args);
  running.child.stdin.end();
  await sleep(delayMs);
  kill(victims(running.child.pid ?? -1));
  await running.ended;
}

const KINDS = ["command", "monitor", "vmm", "everything", "foreground", "stop", "restart"] as const;

const POINTS = Array.from({ length: KILLS }, (_, index) => ({
  kind: KINDS[index % KINDS.length] ?? "command",
  // Over what a start takes, from its first moment on.
  delayMs: 60 + ((index * 137) % 1_500),
}));

test.each(POINTS)("of $kind after $delayMs ms", async ({ kind, delayMs }) => {
  const beside = kind === "stop" || kind === "restart";
  if (beside) await fine(...RUN);
  if (kind === "command") await killDuring(RUN, delayMs, (command) => [command]);
  if (kind === "monitor") await killDuring(RUN, delayMs, () => pidsLike(MONITOR));
  if (kind === "vmm") await killDuring(RUN, delayMs, () => pidsLike(VMM));
  if (kind === "everything")
    await killDuring(RUN, delayMs, (command) => [command, ...pidsLike(MONITOR), ...pidsLike(VMM)]);
  if (kind === "foreground")
    await killDuring(["run", "--rm", ...RUN.slice(3)], delayMs, (command) => [command]);
  if (kind === "stop")
    await killDuring(["stop", "-t", "1", "victim"], delayMs, (command) => [command, ...pidsLike(MONITOR)]);
  if (kind === "restart")
    await killDuring(["restart", "-t", "0", "victim"], delayMs, () => pidsLike(MONITOR));
  // A start that goes on behind its command comes to its end.
  for (let tries = 0; tries < 100 && (await list()).some(({ status }) => status === "created"); tries++) {
    if (pidsLike(MONITOR).length === 0) break;
    await sleep(200);
  }
  expect(await untruths()).toEqual([]);
  expect(await removeAll()).toEqual([]);
});

test("of a monitor whose container runs: it is told as ended, and can be started again", async () => {
  expect(await home.run(RUN)).toMatchObject({ code: 0 });
  await home.run(["exec", "victim", "sh", "-c", "echo kept >/kept; sync"]);
  kill(pidsLike(MONITOR));
  const [victim] = await list();
  expect(victim).toMatchObject({ name: "victim", status: "exited", exitCode: 137 });
  expect(pidsLike(VMM)).toEqual([]);
  expect(await home.run(["start", "victim"])).toMatchObject({ code: 0 });
  expect((await home.run(["exec", "victim", "cat", "/kept"])).stdout).toBe("kept\n");
  expect(await removeAll()).toEqual([]);
});

test("after a reboot, nothing is said to run", async () => {
  expect(await home.run(RUN)).toMatchObject({ code: 0 });
  const [victim] = await list();
  kill([...pidsLike(MONITOR), ...pidsLike(VMM)]);
  // As a host that has booted again finds it: the identities are of another boot.
  const path = join(home.paths.dataDir, "containers", victim?.id ?? "", "state.json");
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ status: "running" });
  expect(await list()).toMatchObject([{ status: "exited", exitCode: 137 }]);
  expect(await removeAll()).toEqual([]);
});
