/**
 * Twenty starts and twenty restores in a row, without a failure, and what they took: beside the least that they can
 * take, by turns, and as what a container's user waits for.
 */
import { mkdir, mkdtemp, open, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { AgentSession } from "../../src/agent/session/session.ts";
import type { Host } from "../../src/container/host.ts";
import { requireAgent } from "../../src/container/host.ts";
import { startOn } from "../../src/container/start.ts";
import type { BootFiles, Machine, MachineShape, TemplateFiles } from "../../src/machine/machine.ts";
import { AGENT_PORT } from "../../src/machine/machine.ts";
import type { BareOptions } from "../support/bare-firecracker.ts";
import { bareBootMs, bareRestoreMs, compileBare } from "../support/bare-firecracker.ts";
import { PATIENCE, firecrackerHost, firecrackerProgram } from "./setup.ts";

const COUNT = Number(process.env["FLAMEBOX_TEST_STARTS"] ?? 20);
/** Of what takes longest, bare boots and containers that boot; and of containers from a template. */
const COLD_COUNT = Math.ceil(COUNT / 4);
const WARM_COUNT = Math.ceil(COUNT / 2);
const SHAPE: MachineShape = {
  cpus: 1,
  memoryMib: 256,
  network: false,
  storageBytes: 64 * 2 ** 20,
  disk: "passing",
};
const { image, paths } = inject("firecracker");

async function greet(machine: Machine): Promise<AgentSession> {
  const { session } = await AgentSession.open(await machine.dial(AGENT_PORT), { deadlineMs: 120_000 });
  return session;
}

/** Milliseconds from the request to the guest's first answer. */
async function machineMs(start: () => Promise<Machine>): Promise<number> {
  const began = performance.now();
  await using machine = await start();
  await using session = await greet(machine);
  expect(session).toBeDefined();
  return performance.now() - began;
}

/** Milliseconds from the request to the end of a container's process, which does nothing. */
async function containerMs(host: Host, template: boolean): Promise<number> {
  const surroundings = { ...PATIENCE, prepareHost: async () => host };
  const began = performance.now();
  const options = { paths, dockerConfig: null, network: "none", command: ["true"], template };
  await using container = await startOn(surroundings, image, options);
  expect(await container.wait()).toMatchObject({ code: 0 });
  return performance.now() - began;
}

type Row = readonly [what: string, count: number, sample: () => Promise<number>, floor?: string];

/** They take turns, so that a host that is busy for a while is so for all of them. */
async function measure(rows: readonly Row[]): Promise<ReadonlyMap<string, number[]>> {
  const times = new Map<string, number[]>(rows.map(([what]) => [what, []]));
  for (let turn = 0; turn < COUNT; turn++)
    for (const [what, count, sample] of rows) if (turn < count) times.get(what)?.push(await sample());
  return times;
}

function at(times: readonly number[], part: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}

function table(rows: readonly Row[], times: ReadonlyMap<string, number[]>): string {
  const header = [
    "| ms | count | least | median | p95 | most | median to its floor |",
    `|${" --- |".repeat(7)}`,
  ];
  const lines = rows.map(([what, , , floor]) => {
    const own = times.get(what) ?? [];
    const shares = [0, 0.5, 0.95, 1].map((part) => at(own, part).toFixed(0));
    const ratio = floor === undefined ? "" : (at(own, 0.5) / at(times.get(floor) ?? [], 0.5)).toFixed(2);
    return `| ${[what, own.length, ...shares, ratio].join(" | ")} |`;
  });
  return [...header, ...lines].join("\n");
}

async function bareIn(dir: string): Promise<BareOptions> {
  const own = join(dir, "bare");
  await mkdir(own);
  const bare = process.env["FLAMEBOX_TEST_BARE"] ?? (await compileBare(own));
  const [firecracker, helper] = [await firecrackerProgram(), await requireAgent(paths)];
  return { bare, firecracker, helper, dir: own, shape: SHAPE };
}

function rowsOf(host: Host, bare: BareOptions, files: TemplateFiles): Row[] {
  const { driver } = host;
  const boot: BootFiles = host.boot;
  const { templates } = driver;
  if (templates === undefined) throw new Error("this driver has no templates");
  const started = { boot, ...SHAPE, network: undefined, disks: {} };
  const restored = { shape: SHAPE, files };
  return [
    ["bare boot", COLD_COUNT, async () => await bareBootMs(bare, boot)],
    ["boot", COUNT, async () => await machineMs(async () => await driver.start(started)), "bare boot"],
    ["bare restore", WARM_COUNT, async () => await bareRestoreMs(bare, files)],
    [
      "restore",
      COUNT,
      async () => await machineMs(async () => await templates.restore(restored)),
      "bare restore",
    ],
    ["container from a template", WARM_COUNT, async () => await containerMs(host, true), "bare restore"],
    ["container that boots", COLD_COUNT, async () => await containerMs(host, false), "bare boot"],
  ];
}

test(`${COUNT} starts and ${COUNT} restores`, { timeout: 1_200_000 }, async () => {
  const host = await firecrackerHost();
  const dir = await mkdtemp(join(tmpdir(), "flamebox-times-"));
  try {
    const files = {
      ramPath: join(dir, "ram"),
      statePath: join(dir, "state"),
      scratchPath: join(dir, "scratch"),
    };
    await (await open(files.scratchPath, "w")).close();
    await truncate(files.scratchPath, SHAPE.storageBytes);
    await host.driver.templates?.save({ boot: host.boot, shape: SHAPE, files, ready: greet });
    const rows = rowsOf(host, await bareIn(dir), files);
    // The first container makes what later ones find: a template, a disk of the image.
    await containerMs(host, true);
    const times = await measure(rows);
    console.log(table(rows, times));
    expect(rows.map(([what]) => times.get(what)?.length)).toEqual(rows.map(([, count]) => count));
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
