/**
 * How long a container takes to start, beside the least that any program has to do for it.
 *
 *     restore       one VMM, restored from the same template by a small program of C, to its guest's first answer
 *     floor         that, and `node -e 0`: what a command of Node's has to wait for in any case
 *     boot          one VMM, booting the same kernel and initramfs, to the first answer
 *     podman        the same image in a container of runc's, where podman and runc are installed
 *
 * The VMM is the one that FlameBox chooses on this host, in all of them.
 *
 * Floors, peers and ours take turns in one run, so that a host that is busy for a while is so for all of them.
 */
import { randomBytes } from "node:crypto";
import { createPool, listTemplates, run } from "flamebox";
import type { Pool } from "flamebox";
import type { Home } from "../test/support/home.ts";
import { openPodman } from "../test/conformance/podman.ts";
import { repository } from "../test/support/images/layouts.ts";
import { join } from "node:path";
import { measureExec } from "./exec.ts";
import { prepareFloors, timeMs, vmmOptions } from "./floors.ts";
import type { Floors } from "./floors.ts";
import { prepareHome } from "./home.ts";
import { compare } from "./measurement.ts";
import type { Benchmark, Measurement } from "./measurement.ts";
import { measureMemory } from "./memory.ts";
import { measureParallel } from "./parallel.ts";

const SAMPLES = 20;
/** Of what takes seconds. */
const COLD_SAMPLES = 7;

export interface Setting {
  readonly home: Home;
  readonly image: string;
  readonly floors: Floors;
  readonly flamebox: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly say: (line: string) => void;
}

interface Samples {
  readonly node: number[];
  readonly restore: number[];
  readonly runTrue: number[];
  readonly sdk: number[];
  readonly pool: number[];
  readonly podman: number[];
}

async function takeFromPool(pool: Pool): Promise<number> {
  // Another one is being made whenever one was taken; that is not what is measured.
  while (pool.ready < pool.size) await new Promise((resolve) => setTimeout(resolve, 20));
  const started = performance.now();
  const container = await pool.start({ command: ["true"], env: { MARK: randomBytes(4).toString("hex") } });
  const { code } = await container.wait();
  const ms = performance.now() - started;
  await container[Symbol.asyncDispose]();
  if (code !== 0) throw new Error(`true ended with ${code}`);
  return ms;
}

async function takeTurns({ home, image, floors, flamebox, env, say }: Setting): Promise<Samples> {
  const samples: Samples = { node: [], restore: [], runTrue: [], sdk: [], pool: [], podman: [] };
  const options = { paths: home.paths, dockerConfig: null, command: ["true"], ...vmmOptions() };
  const podman = await openPodman(image);
  if (typeof podman === "string") say(`nothing is compared with podman: ${podman}`);
  const pool = await createPool({ ...options, size: 1, image });
  try {
    for (let turn = 0; turn <= SAMPLES; turn++) {
      const taken = {
        node: await timeMs([process.execPath, "-e", "0"]),
        restore: await floors.restore(),
        runTrue: await timeMs([...flamebox, "run", "--quiet", "--rm", image, "true"], env),
        sdk: await timed(async () => await run(image, options)),
        pool: await takeFromPool(pool),
        ...(typeof podman !== "string" && {
          podman: await timed(async () => await podman.run(["run", "--rm", image, "true"])),
        }),
      };
      // The first turn warms caches up.
      if (turn > 0) for (const [name, ms] of Object.entries(taken)) samples[name as keyof Samples].push(ms);
      say(
        Object.entries(taken)
          .map(([name, ms]) => `${name} ${ms.toFixed(0)}`)
          .join(", "),
      );
    }
  } finally {
    await pool[Symbol.asyncDispose]();
    if (typeof podman !== "string") await podman[Symbol.asyncDispose]();
  }
  return samples;
}

async function timed(job: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await job();
  return performance.now() - started;
}

async function measureCold({ flamebox, env, image, floors, say }: Setting): Promise<Measurement> {
  const ours: number[] = [];
  const boots: number[] = [];
  const node: number[] = [];
  for (let turn = 0; turn <= COLD_SAMPLES; turn++) {
    const boot = await floors.boot();
    const bare = await timeMs([process.execPath, "-e", "0"]);
    const cold = await timeMs([...flamebox, "run", "--quiet", "--no-template", image, "true"], env);
    say(`bare boot ${boot.toFixed(0)}, without a template ${cold.toFixed(0)}`);
    if (turn === 0) continue;
    boots.push(boot);
    node.push(bare);
    ours.push(cold);
  }
  return compare("start.cold", 1.15, ours, sum(boots, node));
}

function sum(one: readonly number[], other: readonly number[]): number[] {
  return one.map((value, index) => value + (other[index] ?? 0));
}

async function measure(setting: Setting): Promise<Measurement[]> {
  const samples = await takeTurns(setting);
  const { restore, runTrue, podman } = samples;
  return [
    compare("start.run_true", 1.5, runTrue, sum(samples.node, restore)),
    ...(podman.length > 0 ? [compare("start.run_true_vs_podman", 1, runTrue, podman)] : []),
    compare("start.sdk_run_true", 1.3, samples.sdk, restore),
    compare("start.pool_take_exec", 0.25, samples.pool, restore),
    ...(await measureExec(setting)),
    await measureCold(setting),
    ...(await measureParallel(setting, runTrue)),
    ...(await measureMemory(setting)),
  ];
}

async function measureAll(say: (line: string) => void): Promise<Measurement[]> {
  await using prepared = await prepareHome();
  const { home, image } = prepared;
  const [template] = await listTemplates({ paths: home.paths });
  if (template === undefined) throw new Error("setup has left no template");
  const floors = await prepareFloors(home, template);
  const flamebox = [process.execPath, join(repository, "dist", "cli", "main.js")];
  const env = { ...process.env, FLAMEBOX_HOME: home.dir, DOCKER_CONFIG: join(home.dir, "no-docker") };
  return await measure({ home, image, floors, flamebox, env, say });
}

export const start: Benchmark = {
  name: "start",
  about: "starts of containers, against bare restores, bare boots and podman",
  run: measureAll,
};
