/**
 * What every driver's `templates` must do, whatever its VMM. Run by a test file a driver, with the boot files of a
 * real kernel and agent.
 */
import { copyFile, mkdtemp, open, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configure } from "../../src/agent/client.ts";
import { AgentSession } from "../../src/agent/session/session.ts";
import type {
  BootFiles,
  Machine,
  MachineDriver,
  MachineShape,
  SaveRequest,
  TemplateDriver,
  TemplateFiles,
} from "../../src/machine/machine.ts";
import { AGENT_PORT } from "../../src/machine/machine.ts";
import { messageOf, systemCode } from "../../src/util/error.ts";
import { startTicksOf } from "../../src/util/liveness.ts";
import { checksumOf } from "../support/checksum.ts";

const DEADLINE_MS = 90_000;
const SHAPE: MachineShape = {
  cpus: 1,
  memoryMib: 256,
  network: true,
  storageBytes: 64 * 2 ** 20,
  disk: "passing",
};

async function greet(machine: Machine): Promise<AgentSession> {
  const { session } = await AgentSession.open(await machine.dial(AGENT_PORT), { deadlineMs: DEADLINE_MS });
  return session;
}

/** Ends or rejects: a driver may notice in either way, and says why. */
async function refusal(restoring: Promise<Machine>): Promise<string> {
  try {
    await using machine = await restoring;
    const exit = await Promise.race([machine.exited, sleep(DEADLINE_MS, undefined, { ref: false })]);
    if (exit === undefined) throw new Error("it was not refused");
    if (exit.code === 0) throw new Error("the VMM ended as if all were well");
    return machine.diagnostics().stderr;
  } catch (error) {
    if (systemCode(error) !== "template-failed") throw error;
    return messageOf(error).replace(/^the template could not be restored:/, "");
  }
}

export function templateContract(
  name: string,
  setUp: () => Promise<{ driver: MachineDriver; boot: BootFiles }>,
): void {
  describe(`templates of ${name}`, () => {
    let dir: string;
    let boot: BootFiles;
    let templates: TemplateDriver;
    let files: TemplateFiles;

    const filesOf = (label: string): TemplateFiles => ({
      ramPath: join(dir, `${label}.ram`),
      statePath: join(dir, `${label}.state`),
      scratchPath: join(dir, `${label}.scratch`),
    });
    const request = async (label: string, ready: SaveRequest["ready"]): Promise<SaveRequest> => {
      await truncateTo(filesOf(label).scratchPath, SHAPE.storageBytes, "w");
      return { boot, shape: SHAPE, files: filesOf(label), ready };
    };

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), "flamebox-template-"));
      const { driver, boot: given } = await setUp();
      if (driver.templates === undefined) throw new Error(`${driver.name} has no templates`);
      ({ templates } = driver);
      boot = given;
      files = filesOf("good");
      await templates.save(await request("good", greet));
    });
    afterAll(async () => await rm(dir, { recursive: true, force: true }));

    it("have an identity that stays", async () => {
      expect(await templates.identity()).toBe(await templates.identity());
      expect(await templates.identity()).not.toContain("\n");
    });

    it("are files of their owner's, and take less on disk than the machine has memory", async () => {
      for (const path of [files.ramPath, files.statePath]) expect((await stat(path)).mode & 0o077).toBe(0);
      const { size, blocks } = await stat(files.ramPath);
      expect(size).toBe(SHAPE.memoryMib * 2 ** 20);
      expect(blocks * 512).toBeLessThan(size);
    });

    it("become machines that answer, again and again, and stay as they were", async () => {
      const before = await Promise.all([checksumOf(files.ramPath), checksumOf(files.statePath)]);
      for (let n = 0; n < 3; n++) {
        await using machine = await templates.restore({ shape: SHAPE, files });
        await using session = await greet(machine);
        const entropy = Buffer.alloc(64, n);
        const machineId = String(n).repeat(32);
        await configure(session, { timeMs: Date.now(), entropy, hostname: `clone-${n}`, machineId });
        await machine.kill();
        expect(startTicksOf(machine.pid)).toBeUndefined();
      }
      expect(await Promise.all([checksumOf(files.ramPath), checksumOf(files.statePath)])).toEqual(before);
    });

    it("may be removed while a machine runs", async () => {
      const copy = filesOf("copy");
      await copyFile(files.ramPath, copy.ramPath);
      await copyFile(files.statePath, copy.statePath);
      await using machine = await templates.restore({ shape: SHAPE, files: copy });
      await using session = await greet(machine);
      await Promise.all([rm(copy.ramPath), rm(copy.statePath)]);
      expect(await session.request("system.ping", {})).toMatchObject({
        rssBytes: expect.any(Number) as number,
      });
      expect(await session.request("system.shutdown", {})).toEqual({});
      expect(await machine.exited).toMatchObject({ code: 0 });
    });

    it.each<[string, Partial<MachineShape>]>([
      ["another size of memory", { memoryMib: 320 }],
      ["a network interface more or less", { network: !SHAPE.network }],
    ])("are refused, with a reason, by a machine with %s", async (_, change) => {
      const restoring = templates.restore({ shape: { ...SHAPE, ...change }, files });
      expect(await refusal(restoring)).toMatch(/\S/);
    });

    it.each<[string, (path: string) => Promise<void>]>([
      ["is empty", async (path) => await (await open(path, "w")).close()],
      ["is cut short", async (path) => await truncateTo(path, 10_000)],
      ["is something else", async (path) => await overwrite(path, Buffer.alloc(10_000, "x"))],
    ])("are refused when the state %s", async (_, damage) => {
      const statePath = join(dir, "damaged.state");
      await copyFile(files.statePath, statePath);
      await damage(statePath);
      const restoring = templates.restore({ shape: SHAPE, files: { ...files, statePath } });
      expect(await refusal(restoring)).toMatch(/\S/);
    });

    it("are not made of a machine that does not get ready, which is ended", async () => {
      const reason = new Error("not ready");
      let pid = 0;
      const ready = async (machine: Machine): Promise<AsyncDisposable> => {
        ({ pid } = machine);
        throw reason;
      };
      await expect(templates.save(await request("unready", ready))).rejects.toBe(reason);
      expect(pid).not.toBe(0);
      expect(startTicksOf(pid)).toBeUndefined();
    });

    it("are neither made nor used by somebody who was told to stop already", async () => {
      const reason = new Error("enough");
      const options = { signal: AbortSignal.abort(reason) };
      await expect(templates.save(await request("aborted", greet), options)).rejects.toBe(reason);
      await expect(templates.restore({ shape: SHAPE, files }, options)).rejects.toBe(reason);
    });
  });
}

async function truncateTo(path: string, sizeBytes: number, flags = "r+"): Promise<void> {
  await using handle = await open(path, flags);
  await handle.truncate(sizeBytes);
}

async function overwrite(path: string, bytes: Buffer): Promise<void> {
  await using handle = await open(path, "r+");
  await handle.write(bytes, 0, bytes.length, 0);
}
