/** What Firecracker takes besides a machine: each option, and what the VMM says of it. */
import { cpus } from "node:os";
import { expect, test } from "vitest";
import { AgentSession } from "../../src/agent/session/session.ts";
import { getBalloonMib, patchBalloon } from "../../src/machine/firecracker/api/balloon.ts";
import type { FirecrackerTuning } from "../../src/machine/firecracker/tuning.ts";
import { FirecrackerMachine } from "../../src/machine/firecracker/vmm.ts";
import { AGENT_PORT } from "../../src/machine/machine.ts";
import { messageOf } from "../../src/util/error.ts";
import { firecrackerHost } from "./setup.ts";

async function start(tuning: FirecrackerTuning): Promise<FirecrackerMachine> {
  const { driver, boot } = await firecrackerHost(tuning);
  const network = { attach: () => {}, mac: "52:54:00:00:00:01" };
  const machine = await driver.start({ boot, cpus: 1, memoryMib: 256, disks: {}, network });
  if (machine instanceof FirecrackerMachine) return machine;
  throw new Error("this driver makes other machines");
}

test("a machine with limits, a balloon and metrics boots, and tells what it counts", async () => {
  const bucket = { size: 2 ** 20, refill_time: 100 };
  await using machine = await start({
    metrics: true,
    logLevel: "Info",
    balloon: { amount_mib: 16, deflate_on_oom: true, stats_polling_interval_s: 1 },
    limits: {
      received: { bandwidth: bucket },
      sent: { ops: bucket },
      entropy: { bandwidth: bucket },
      console: { size: 64 * 2 ** 10, refill_time: 1_000, one_time_burst: 2 ** 20 },
    },
  });
  const stream = await machine.dial(AGENT_PORT);
  const { session } = await AgentSession.open(stream, { deadlineMs: 120_000 });
  await using _ = session;
  expect(await machine.metrics()).toMatchObject({
    utc_timestamp_ms: expect.any(Number) as number,
    uart: { rate_limiter_dropped_bytes: expect.any(Number) as number },
  });
  expect(await getBalloonMib(machine.api)).toBe(16);
  // The guest has no driver for it, and only a driver could give memory back.
  await expect(patchBalloon(machine.api, { amount_mib: 8 })).rejects.toMatchObject({
    code: "balloon-refused",
    message: expect.stringContaining("not activated") as string,
  });
  // At the level Info it says what it is asked.
  expect(machine.diagnostics().stderr).toMatch(/balloon/i);
});

test("a processor that this one cannot be is refused, with Firecracker's reason", async () => {
  const isIntel = /intel/i.test(cpus()[0]?.model ?? "");
  const said = await start({ cpuTemplate: isIntel ? "T2A" : "T2" }).then(
    async (machine) => {
      await machine.kill();
      return "it was started";
    },
    (error: unknown) => messageOf(error),
  );
  expect(said).toMatch(/template|cpu/i);
});
