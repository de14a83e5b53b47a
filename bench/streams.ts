/**
 * Bytes through a machine, beside the same bytes through a pipe.
 *
 *   floor    dd ─► pipe ─► dd
 *   output   process in the machine ─► stdout ─► dd
 *   input    dd ─► stdin ─► process in the machine
 *   both     dd ─► stdin ─► cat in the machine ─► stdout ─► dd
 *
 * A run without bytes is taken off: a machine's start is not what is measured. Under software emulation the
 * guest's share is nearly all of it, so the goals hold only the direction of things there; the host's share is
 * in `streams.host_growth_mb`, the resident size that its process reaches beyond that of a run without bytes, and in
 * `streams.host_own_mb`, all of its memory that is not the program's own files, which other processes of Node share.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { makeHome } from "../test/support/home.ts";
import type { Home } from "../test/support/home.ts";
import { layout, repository } from "../test/support/images/layouts.ts";
import { startRegistry } from "../test/support/registry.ts";
import { locatePaths } from "../src/util/paths.ts";
import { largest, ratio } from "./measurement.ts";
import type { Benchmark, Measurement } from "./measurement.ts";

const SIZE_MIB = 256;
const SAMPLES = 3;
const MAIN = join(repository, "dist", "cli", "main.js");
const MEASURE = join(import.meta.dirname, "children", "peak.js");
const SOURCE = `dd if=/dev/zero bs=64k count=${SIZE_MIB * 16} status=none`;
const SINK = "dd of=/dev/null bs=64k status=none";

/** Each with the command that runs in the machine, and the shell's part around it, as `"$@"`. */
const ways = [
  ["output", `"$@" | ${SINK}`, ["sh", "-c", SOURCE]],
  ["input", `${SOURCE} | "$@"`, ["sh", "-c", "cat >/dev/null"]],
  ["both", `${SOURCE} | "$@" | ${SINK}`, ["cat"]],
] as const;

async function timeMs(script: string, words: readonly string[] = [], env = process.env): Promise<number> {
  const started = performance.now();
  await promisify(execFile)("bash", ["-o", "pipefail", "-ec", script, "bash", ...words], { env });
  return performance.now() - started;
}

async function measure(home: Home, image: string, say: (line: string) => void): Promise<Measurement[]> {
  const peakFile = join(home.dir, "peak");
  const env = { ...process.env, FLAMEBOX_HOME: home.dir, PEAK_FILE: peakFile };
  const flamebox = [
    process.execPath,
    `--import=${MEASURE}`,
    MAIN,
    "run",
    "-q",
    "-i",
    "--network",
    "none",
    image,
  ];
  /** Resident at most, and what of it is the process's own. */
  const peaksMb = (): readonly [number, number] => {
    const [resident = 0, own = 0] = readFileSync(peakFile, "latin1").split(" ").map(Number);
    return [(resident * 1024) / 1e6, (own * 1024) / 1e6];
  };
  const floorMs: number[] = [];
  // The fastest start so far: on a busy host one slow start would make the bytes look fast.
  let idleMs = Number.POSITIVE_INFINITY;
  const grownMb: number[] = [];
  const ownMb: number[] = [];
  const samples = new Map<string, number[]>(ways.map(([name]) => [name, []]));
  for (let turn = 0; turn <= SAMPLES; turn++) {
    const floor = await timeMs(`${SOURCE} | ${SINK}`);
    idleMs = Math.min(idleMs, await timeMs('"$@" </dev/null', [...flamebox, "true"], env));
    const [idleMb] = peaksMb();
    for (const [name, script, command] of ways) {
      const ms = (await timeMs(script, [...flamebox, ...command], env)) - idleMs;
      say(
        `${name}: ${(SIZE_MIB / (ms / 1000)).toFixed(0)} MiB/s, pipe ${(SIZE_MIB / (floor / 1000)).toFixed(0)} MiB/s`,
      );
      // The first turn warms caches up.
      if (turn > 0) {
        samples.get(name)?.push(ms);
        const [residentMb, own] = peaksMb();
        grownMb.push(Math.max(0, residentMb - idleMb));
        ownMb.push(own);
      }
    }
    if (turn > 0) floorMs.push(floor);
  }
  return [
    ...ways.map(([name]) => ratio(`streams.${name}`, GOALS[name], samples.get(name) ?? [], floorMs)),
    largest("streams.host_growth_mb", 64, grownMb),
    largest("streams.host_own_mb", 67.1, ownMb),
  ];
}

const GOALS = { output: 100, input: 100, both: 200 };

async function run(say: (line: string) => void): Promise<Measurement[]> {
  await promisify(execFile)(process.execPath, [MAIN, "setup", "--quiet"]);
  const { dir, tag } = await layout("busybox");
  await using registry = await startRegistry();
  await registry.push(dir, tag, "bench/busybox:1");
  await using home = await makeHome(join(locatePaths(process.env).dataDir, "kernels"));
  const image = `${registry.host}/bench/busybox:1`;
  const { code, stderr } = await home.run(["pull", "-q", image]);
  if (code !== 0) throw new Error(stderr);
  return await measure(home, image, say);
}

export const streams: Benchmark = {
  name: "streams",
  about: "bytes in and out of a machine, against dd through a pipe",
  run,
};
