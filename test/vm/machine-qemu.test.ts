import { mkdtemp, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { confinementOf as confinementFor } from "../../src/container/vmm.ts";
import { requireAgent } from "../../src/container/host.ts";
import { NOT_ROOT, jailProblem } from "../../src/machine/jail/ability.ts";
import { findKernel, prepareBoot } from "../../src/machine/kernel/kernel.ts";
import type { BootFiles, MachineDriver } from "../../src/machine/machine.ts";
import { qemuDriver } from "../../src/machine/qemu/qemu.ts";
import { findQemu } from "../../src/machine/qemu/vmm.ts";
import { confinementContract } from "../contract/confinement.ts";
import { machineContract } from "../contract/machine.ts";
import { templateContract } from "../contract/template.ts";

const kernelHome = dirname(inject("kernelDir"));
const kernelPaths = { dataDir: kernelHome, runtimeDir: kernelHome };

async function setUp(confine: boolean): Promise<{ driver: MachineDriver; boot: BootFiles }> {
  const kernel = await findKernel(kernelPaths);
  if (kernel === undefined) throw new Error(`flamebox setup has left no kernel in ${kernelHome}`);
  const agent = await requireAgent(kernelPaths);
  const boot = await prepareBoot(kernel, agent, kernelPaths);
  const paths = { dataDir: home, runtimeDir: home };
  const confined = confine ? await confinementFor(await findQemu(), { options: {}, paths, agent }) : {};
  return { driver: qemuDriver({ acceleration: "tcg", ...confined }), boot };
}

// Jails have hard links to what is lent to them, so they are in the file system of the kernels.
let home: string;
beforeAll(async () => (home = await mkdtemp(join(kernelHome, ".test-jails-"))));
afterAll(async () => await rm(home, { recursive: true, force: true }));

const problem = await jailProblem(kernelHome, { jailer: false });
const jailed = problem === undefined;
if (!jailed && problem !== NOT_ROOT) console.warn(`root cannot jail machines here: ${problem}`);
const name = jailed ? "QEMU in a jail" : "QEMU in namespaces of its own";

machineContract(name, async () => await setUp(true));
templateContract(name, async () => await setUp(true));
confinementContract(name, async () => await setUp(true), { jailed });

// As on a host where the agent's program cannot be executed.
machineContract("QEMU without a helper", async () => await setUp(false));
templateContract("QEMU without a helper", async () => await setUp(false));

describe("of all these machines", () => {
  test("nothing is left", async () => {
    expect(await readdir(join(home, "jails")).catch(() => [])).toEqual([]);
  });
});
