/**
 * What idle containers take: the proportional set sizes of this process's descendants (VMMs and network programs), and
 * the container's share of this process, which owns them all. And what the process takes that keeps a detached one.
 */
import { readFileSync, readdirSync } from "node:fs";
import { once } from "node:events";
import { FlameBox, start } from "flamebox";
import type { ConnectedFlameBox, RunningContainer } from "flamebox";
import { limit } from "../src/util/limit.ts";
import { vmmOptions } from "./floors.ts";
import { prepareHome } from "./home.ts";
import { atLeast, largest } from "./measurement.ts";
import type { Benchmark, Measurement } from "./measurement.ts";
import type { Setting } from "./start.ts";

const COUNTED = 50;
const WANTED = 200;
const BUDGET_MB = 8 * 1024 * 1.048576;
const AT_ONCE = 2;
const MONITORS = 8;
const MONITOR_MB = 30;
/** What a start has used and is garbage has gone by then. */
const SETTLE_MS = 5_000;

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function children(pid: number): number[] {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.flatMap((task) =>
    read(`/proc/${pid}/task/${task}/children`).split(" ").filter(Boolean).map(Number),
  );
}

function pssMb(pid: number): number {
  const [, kib = "0"] = /^Pss:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/smaps_rollup`)) ?? [];
  return (Number(kib) * 1_024) / 1e6;
}

function treeMb(pid: number): number {
  return pssMb(pid) + children(pid).reduce((total, child) => total + treeMb(child), 0);
}

/** A line in, the same line out: it lives. */
async function answers(container: RunningContainer, word: string): Promise<boolean> {
  container.stdin?.write(`${word}\n`);
  const [chunk] = (await once(container.stdout, "data")) as [Buffer];
  return chunk.toString() === `${word}\n`;
}

async function startIdle({ image, home }: Setting): Promise<RunningContainer> {
  const options = { paths: home.paths, dockerConfig: null, ...vmmOptions() };
  return await start(image, { ...options, command: ["cat"], interactive: true });
}

export async function measureMemory(setting: Setting): Promise<Measurement[]> {
  const { say } = setting;
  const alive: RunningContainer[] = [];
  const limited = limit(AT_ONCE);
  const add = async (count: number): Promise<void> => {
    const started = Array.from(
      { length: count },
      async () => await limited(async () => await startIdle(setting)),
    );
    for (const result of await Promise.allSettled(started)) {
      if (result.status === "rejected") throw result.reason;
      alive.push(result.value);
    }
  };
  try {
    const before = pssMb(process.pid);
    await add(COUNTED);
    const each = (treeMb(process.pid) - before) / COUNTED;
    say(`${COUNTED} idle containers: ${each.toFixed(1)} MB each`);
    while (alive.length < WANTED && treeMb(process.pid) - before < BUDGET_MB) await add(10);
    const total = treeMb(process.pid) - before;
    const living = await Promise.all(
      alive.map(async (container, n) => await answers(container, `line ${n}`)),
    );
    const stand = living.filter(Boolean).length;
    say(`${alive.length} idle containers: ${total.toFixed(0)} MB in all, ${stand} answer`);
    const within = total <= BUDGET_MB ? stand : Math.floor((stand * BUDGET_MB) / total);
    return [largest("memory.idle_each", 45, [each]), atLeast("density.alive", WANTED, within)];
  } finally {
    await Promise.all(alive.map(async (container) => await container[Symbol.asyncDispose]()));
  }
}

async function measureMonitors(say: (line: string) => void): Promise<Measurement[]> {
  await using prepared = await prepareHome();
  const { home, image } = prepared;
  const boxes: ConnectedFlameBox[] = [];
  try {
    for (let n = 0; n < MONITORS; n++)
      boxes.push(await FlameBox.createDetached(image, { paths: home.paths, dockerConfig: null }));
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const each = await Promise.all(
      boxes.map(async (box) => pssMb((await box.inspect()).state.live?.monitorPid ?? 0)),
    );
    if (each.some((mb) => mb === 0)) throw new Error("a monitor has gone");
    const mean = each.reduce((sum, mb) => sum + mb, 0) / MONITORS;
    say(`${MONITORS} monitors: ${each.map((mb) => mb.toFixed(1)).join(", ")} MB`);
    return [largest("memory.monitor", MONITOR_MB, [mean])];
  } finally {
    for (const box of boxes) await box.remove({ force: true });
  }
}

export const monitor: Benchmark = {
  name: "monitor",
  about: "what the process takes that keeps a detached container",
  run: measureMonitors,
};
