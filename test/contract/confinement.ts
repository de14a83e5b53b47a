/**
 * What a VMM of every driver has on this host while it runs, by /proc: what a guest that broke into it would have.
 */
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { settledConfinement, weaknessesOf } from "../../src/machine/confinement.ts";
import type { BootFiles, MachineDriver } from "../../src/machine/machine.ts";

const DEADLINE_MS = 30_000;

export interface ConfinementSetUp {
  readonly driver: MachineDriver;
  readonly boot: BootFiles;
}

/** @param jailed whether root has given each VMM a user and a directory */
export function confinementContract(
  name: string,
  setUp: () => Promise<ConfinementSetUp>,
  { jailed }: { readonly jailed: boolean },
): void {
  const start = async () => {
    const { driver, boot } = await setUp();
    const network = { attach: () => {}, mac: "52:54:00:00:00:01" };
    return await driver.start({ boot, cpus: 2, memoryMib: 256, disks: {}, network });
  };

  describe(`a VMM of ${name}`, () => {
    it("has no capability, no way to new privileges, and a filter on every thread", async () => {
      await using machine = await start();
      const found = await settledConfinement(machine.pid, DEADLINE_MS);
      const weaknesses = weaknessesOf(found).filter(
        (text) => jailed || process.getuid?.() !== 0 || text === "",
      );
      expect(weaknesses).toEqual([]);
      // Its own, and one for each CPU at least.
      expect(found.threads).toBeGreaterThanOrEqual(3);
    });

    it("has a network of its own, with nothing in it but what it was given", async () => {
      await using machine = await start();
      expect(await settledConfinement(machine.pid, DEADLINE_MS)).toMatchObject({ hasOwnNetwork: true });
      const devices = (await readFile(`/proc/${machine.pid}/net/dev`, "utf8")).match(/^\s*\w+(?=:)/gm);
      const given = devices?.map((device) => device.trim()).filter((device) => device !== "fb0");
      expect(given).toEqual(["lo"]);
    });

    it("has nothing of this process's environment", async () => {
      await using machine = await start();
      await settledConfinement(machine.pid, DEADLINE_MS);
      expect(await readFile(`/proc/${machine.pid}/environ`, "latin1")).toBe("");
    });

    it("opens few files, and writes none that is larger than its disks", async () => {
      await using machine = await start();
      await settledConfinement(machine.pid, DEADLINE_MS);
      const limits = await readFile(`/proc/${machine.pid}/limits`, "latin1");
      expect(limits).toMatch(/^Max open files +(?:256|1024) /m);
      expect(limits).toMatch(/^Max file size +\d+ /m);
    });

    it.skipIf(jailed)("is this user's (root's are in a jail, and tested so)", async () => {
      await using machine = await start();
      expect(await settledConfinement(machine.pid, DEADLINE_MS)).toMatchObject({
        uid: process.getuid?.(),
        hasOwnRoot: false,
      });
    });

    it.runIf(jailed)("has a user that no other machine has, and sees its own directory only", async () => {
      await using one = await start();
      await using other = await start();
      const [first, second] = await Promise.all(
        [one, other].map(async ({ pid }) => await settledConfinement(pid, DEADLINE_MS)),
      );
      expect(first).toMatchObject({ hasOwnRoot: true });
      expect(first?.uid).not.toBe(second?.uid);
      expect(first?.uid).toBeGreaterThan(1_900_000_000);
    });
  });
}
