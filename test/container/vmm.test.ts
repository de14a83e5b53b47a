/** Which VMM runs a machine, and what people are told of it. QEMU is the one that is installed; KVM's verdict is given. */
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chooseVmm } from "../../src/container/vmm.ts";
import type { Candidate, VmmRequest } from "../../src/container/vmm.ts";
import type { HostOptions } from "../../src/container/options.ts";
import { locatePaths } from "../../src/util/paths.ts";

let dir: string;
/** A program that can be executed, and is no Firecracker. */
let program: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-vmm-"));
  program = join(dir, "firecracker");
  await writeFile(program, "#!/bin/sh\necho Firecracker v1.16.1\n");
  await chmod(program, 0o755);
  await writeFile(join(dir, "vmlinuz"), "no kernel");
});
afterAll(async () => await rm(dir, { recursive: true }));

const usable = { usable: true, reason: "a guest booted and answered" };
const unusable = { usable: false, reason: "there is no /dev/kvm", hint: "turn on virtualization" };

async function choose(options: HostOptions, kvm = unusable as { usable: boolean; reason: string }) {
  const notices: string[] = [];
  const tried: Candidate[] = [];
  const request: VmmRequest = {
    paths: locatePaths({ FLAMEBOX_HOME: join(dir, "home") }),
    kernel: { path: join(dir, "vmlinuz"), release: "6.12.0" } as VmmRequest["kernel"],
    boot: { kernelPath: join(dir, "vmlinuz"), initramfsPath: join(dir, "initramfs") },
    options: { onNotice: (notice) => notices.push(notice), ...options },
    agent: join(dir, "agent"),
    tryKvm: async (candidate) => {
      tried.push(candidate);
      return kvm;
    },
  };
  const vmm = await chooseVmm(request);
  return { vmm, tried, notices: notices.filter((notice) => !/^\w+ runs as root, because/.test(notice)) };
}

describe("QEMU", () => {
  it.each([
    ["with KVM", usable],
    ["without", unusable],
  ])("is chosen when it is asked for, %s", async (_, kvm) => {
    const { vmm, tried, notices } = await choose({ vmm: "qemu", firecracker: program }, kvm);
    expect(vmm).toMatchObject({ driver: { name: "qemu" }, kvm });
    expect(tried.map(({ driver }) => driver.name)).toEqual(["qemu"]);
    expect(notices).toEqual([]);
  });

  it("runs what Firecracker cannot, and says why", async () => {
    const { vmm, tried, notices } = await choose({ firecracker: program }, usable);
    expect(vmm.driver.name).toBe("qemu");
    expect(tried.map(({ driver }) => driver.name)).toEqual(["qemu"]);
    expect(notices).toEqual([
      expect.stringMatching(/^QEMU runs the machine, because Firecracker cannot: .*vmlinuz/) as string,
    ]);
  });

  it("has nothing of what Firecracker can be told, and says so", async () => {
    const { notices } = await choose({ vmm: "qemu", firecrackerTuning: { cpuTemplate: "T2" } });
    expect(notices).toEqual(["QEMU runs the machine: firecrackerTuning has no effect"]);
  });
});

describe("Firecracker, asked for", () => {
  it.each<[string, HostOptions, RegExp]>([
    ["a path that is no program", { firecracker: "/no/such/firecracker" }, /is no program/],
    ["a relative path", { firecracker: "firecracker" }, /is no program/],
    ["a file that cannot be executed", { firecracker: "vmlinuz" }, /is no program/],
  ])("is an error with %s", async (_, options, message) => {
    await expect(choose({ vmm: "firecracker", ...options })).rejects.toMatchObject({
      code: "vmm-missing",
      message: expect.stringMatching(message) as string,
      hint: expect.stringContaining("--firecracker") as string,
    });
  });

  it("is an error when it cannot run, and QEMU is not tried", async () => {
    await expect(choose({ vmm: "firecracker", firecracker: program }, usable)).rejects.toMatchObject({
      message: expect.stringContaining("vmlinuz") as string,
    });
  });
});
