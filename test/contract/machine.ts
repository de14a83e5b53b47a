/**
 * What every machine driver must do, whatever its VMM. Run by a test file a driver, with the boot files of a
 * real kernel and agent.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { AgentSession } from "../../src/agent/session/session.ts";
import type { BootFiles, MachineConfig, MachineDriver } from "../../src/machine/machine.ts";
import { AGENT_PORT } from "../../src/machine/machine.ts";
import { messageOf } from "../../src/util/error.ts";
import { startTicksOf } from "../../src/util/liveness.ts";

const BOOT_DEADLINE_MS = 90_000;

export function machineContract(
  name: string,
  setUp: () => Promise<{ driver: MachineDriver; boot: BootFiles }>,
): void {
  describe(`${name} as a machine driver`, () => {
    const started = async (change: Partial<MachineConfig> = {}, signal?: AbortSignal) => {
      const { driver, boot } = await setUp();
      return await driver.start({ boot, cpus: 1, memoryMib: 256, disks: {}, ...change }, { signal });
    };

    it("boots to an agent that answers, and ends when told", async () => {
      const machine = await started();
      const stream = await machine.dial(AGENT_PORT);
      const { hello, session } = await AgentSession.open(stream, { deadlineMs: BOOT_DEADLINE_MS });
      expect(hello.kernel).toMatch(/^\d+\.\d+/);
      await expect(session.request("no.such.method", {})).rejects.toMatchObject({ code: "unknown-method" });
      await machine.kill();
      expect(startTicksOf(machine.pid)).toBeUndefined();
      expect(await session.closed).toMatchObject({ code: "agent-lost" });
      await machine.kill();
    });

    it("has one stream, and takes no other", async () => {
      await using machine = await started();
      await machine.dial(AGENT_PORT);
      await expect(machine.dial(AGENT_PORT)).rejects.toMatchObject({ code: "no-such-port" });
      await expect(machine.dial(1)).rejects.toMatchObject({ code: "no-such-port" });
    });

    it("powers off when the agent is asked to", async () => {
      await using machine = await started();
      const stream = await machine.dial(AGENT_PORT);
      const { session } = await AgentSession.open(stream, { deadlineMs: BOOT_DEADLINE_MS });
      expect(await session.request("system.shutdown", {})).toEqual({});
      expect(await machine.exited).toMatchObject({ code: 0 });
    });

    it("tells when its VMM is killed by somebody else", async () => {
      await using machine = await started();
      process.kill(machine.pid, "SIGKILL");
      expect(await machine.exited).toMatchObject({ signal: "SIGKILL" });
    });

    it("says why it did not start", async () => {
      const boot = { kernelPath: "/nonexistent/kernel", initramfsPath: "/nonexistent" };
      // A driver may notice at once, or its VMM may end over it.
      const said = await started({ boot }).then(
        async (machine) => {
          await using _ = machine;
          await machine.exited;
          return machine.diagnostics().stderr;
        },
        (error: unknown) => messageOf(error),
      );
      expect(said).toContain("/nonexistent");
    });

    it("does not start when it was told to stop already", async () => {
      const reason = new Error("enough");
      await expect(started({}, AbortSignal.abort(reason))).rejects.toBe(reason);
    });

    it("leaves no process when it is stopped while it boots", async () => {
      const machine = await started();
      await sleep(100);
      await machine[Symbol.asyncDispose]();
      expect(startTicksOf(machine.pid)).toBeUndefined();
    });
  });
}
