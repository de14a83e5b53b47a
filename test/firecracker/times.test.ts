/** Twenty starts and twenty restores in a row, without a failure, and what they took. */
import { mkdtemp, open, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AgentSession } from "../../src/agent/session/session.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { AGENT_PORT } from "../../src/machine/machine.ts";
import { firecrackerHost } from "./setup.ts";

const COUNT = Number(process.env["FLAMEBOX_TEST_STARTS"] ?? 20);
const SHAPE = {
  cpus: 1,
  memoryMib: 256,
  network: false,
  storageBytes: 64 * 2 ** 20,
  disk: "passing",
} as const;

async function greet(machine: Machine): Promise<AgentSession> {
  const { session } = await AgentSession.open(await machine.dial(AGENT_PORT), { deadlineMs: 120_000 });
  return session;
}

/** Milliseconds from the request to the guest's first answer. */
async function timesOf(start: () => Promise<Machine>): Promise<number[]> {
  const times: number[] = [];
  for (let n = 0; n < COUNT; n++) {
    const began = performance.now();
    await using machine = await start();
    await using session = await greet(machine);
    times.push(performance.now() - began);
    expect(session).toBeDefined();
  }
  return times.sort((a, b) => a - b);
}

function summary(what: string, times: readonly number[]): string {
  const at = (part: number) => Math.round(times[Math.floor((times.length - 1) * part)] ?? 0);
  return `${times.length} ${what}: least ${at(0)} ms, median ${at(0.5)} ms, most ${at(1)} ms`;
}

test(`${COUNT} starts and ${COUNT} restores`, { timeout: 900_000 }, async () => {
  const { driver, boot } = await firecrackerHost();
  const dir = await mkdtemp(join(tmpdir(), "flamebox-times-"));
  try {
    const booted = await timesOf(
      async () => await driver.start({ boot, ...SHAPE, network: undefined, disks: {} }),
    );
    console.log(summary("starts", booted));
    const files = {
      ramPath: join(dir, "ram"),
      statePath: join(dir, "state"),
      scratchPath: join(dir, "scratch"),
    };
    await (await open(files.scratchPath, "w")).close();
    await truncate(files.scratchPath, SHAPE.storageBytes);
    const { templates } = driver;
    if (templates === undefined) throw new Error("this driver has no templates");
    await templates.save({ boot, shape: SHAPE, files, ready: greet });
    const restored = await timesOf(async () => await templates.restore({ shape: SHAPE, files }));
    console.log(summary("restores", restored));
    expect([booted.length, restored.length]).toEqual([COUNT, COUNT]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
