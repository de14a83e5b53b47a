/**
 * Whole lives of containers, one after another and side by side: what is there afterwards is what was there before.
 * FLAMEBOX_TEST_SOAK sets how many one after another; side by side are eight at a time, a third as many in all, and 80 of
 * two hundred.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { limit } from "../../src/util/limit.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const LIVES = Number(process.env["FLAMEBOX_TEST_SOAK"] ?? 3);
/** Eight times ten in the long run. */
const BESIDE = LIVES >= 200 ? 80 : Math.ceil(LIVES / 3);
let home: Home;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  await fine("pull", "-q", busybox);
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

async function fine(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await home.run(args);
  if (code !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
  return stdout.trimEnd();
}

async function life(name: string): Promise<void> {
  await fine("run", "-q", "-d", "--name", name, "--network", "none", busybox, "sleep", "1000");
  expect(await fine("exec", name, "echo", name)).toBe(name);
  await fine("stop", "-t", "0", name);
  await fine("rm", name);
}

/** Processes, files by folder, and what this process has open. */
function inventory() {
  const { dataDir } = home.paths;
  const folders = ["containers", "names", "leases", "locks", "tmp", "images", "layers"];
  return {
    processes: home.processes().length,
    files: Object.fromEntries(folders.map((name) => [name, readdirSync(join(dataDir, name)).length])),
    descriptors: readdirSync("/proc/self/fd").length,
  };
}

test(`${LIVES} lives one after another, and ${BESIDE} eight at a time, leave nothing`, {
  timeout: 3_600_000,
}, async () => {
  await life("first");
  const before = inventory();
  for (let i = 0; i < LIVES; i++) await life(`soak-${i}`);
  expect(inventory()).toEqual(before);
  const limited = limit(8);
  const beside = Array.from({ length: BESIDE }, (_, i) => `beside-${i}`);
  await Promise.all(beside.map(async (name) => await limited(async () => await life(name))));
  expect(await home.leftovers()).toEqual([]);
  expect(inventory()).toEqual(before);
});
