import { describe, expect, it } from "vitest";
import type { ContainerOptions } from "../../src/container/options.ts";
import { hostCapacity, machineNeedMib, sizeMachine } from "../../src/container/sizing.ts";

const host = { cpus: 8, memoryMib: 32_768 };
const MIB = 1 << 20;

describe("memory", () => {
  it("is the machine's 512 MiB less its need, when nothing is asked for", () => {
    const { memoryMib, share } = sizeMachine({}, host);
    expect(memoryMib).toBe(512);
    expect(share.memoryLimitBytes).toBe(388 * MIB);
  });

  it.each([6, 7, 64, 127, 256, 400, 401, 512, 1000, 1024, 2048, 2600, 4096, 16_384])(
    "of %i MiB is all the container's, in the smallest machine that has it to spare",
    (limitMib) => {
      for (const cpus of [1, 4]) {
        const { memoryMib, share, vcpus } = sizeMachine({ memoryMib: limitMib, cpus }, host);
        expect(share.memoryLimitBytes).toBe(limitMib * MIB);
        expect(memoryMib - machineNeedMib(memoryMib, vcpus)).toBeGreaterThanOrEqual(limitMib);
        // One step of 1/16, or a threshold that was just passed.
        const spare = memoryMib - machineNeedMib(memoryMib, vcpus) - limitMib;
        expect(spare).toBeLessThanOrEqual(1);
      }
    },
  );

  // What of a machine a container cannot have, as measured; MiB.
  it.each([
    [128, 87],
    [192, 92],
    [256, 98],
    [512, 115],
    [1024, 206],
    [2048, 259],
    [4096, 475],
  ])("of a machine of %i MiB covers what was measured", (machineMib, missingMib) => {
    expect(machineNeedMib(machineMib, 1)).toBeGreaterThan(missingMib + 5);
  });

  it("leaves something to the container of a machine with many CPUs", () => {
    const { memoryMib, share } = sizeMachine({ cpus: 200 }, { cpus: 255, memoryMib: 65_536 });
    expect(share.memoryLimitBytes).toBeGreaterThanOrEqual(6 * MIB);
    expect(memoryMib * MIB).toBeGreaterThan(share.memoryLimitBytes + 800 * MIB);
  });
});

describe("CPUs", () => {
  it.each<[string, ContainerOptions, number, object | undefined]>([
    ["one by default", {}, 1, undefined],
    ["whole ones without a quota", { cpus: 3 }, 3, undefined],
    ["half of one", { cpus: 0.5 }, 1, { quotaUs: 50_000, periodUs: 100_000 }],
    ["two and a half", { cpus: 2.5 }, 3, { quotaUs: 250_000, periodUs: 100_000 }],
    ["a hundredth", { cpus: 0.01 }, 1, { quotaUs: 1_000, periodUs: 100_000 }],
    ["a quota", { cpuQuotaUs: 150_000 }, 2, { quotaUs: 150_000, periodUs: 100_000 }],
    [
      "a quota of a period",
      { cpuQuotaUs: 10_000, cpuPeriodUs: 20_000 },
      1,
      { quotaUs: 10_000, periodUs: 20_000 },
    ],
    ["no quota, in Docker's words", { cpuQuotaUs: -1 }, 1, undefined],
  ])("are %s", (_name, options, vcpus, cpu) => {
    expect(sizeMachine(options, host)).toMatchObject({ vcpus, share: { cpu } });
  });
});

describe("what this host cannot give is refused", () => {
  it.each<[string, ContainerOptions, string]>([
    ["more CPUs", { cpus: 9 }, "this host has 8 CPUs: a container can have 0.01 to 8 of them, not 9"],
    ["more CPUs, by a quota", { cpuQuotaUs: 900_000 }, "this host has 8 CPUs"],
    ["no CPU", { cpus: 0 }, "not 0"],
    ["CPUs that are none", { cpus: Number.NaN }, "not NaN"],
    ["CPUs in two ways", { cpus: 1, cpuQuotaUs: 50_000 }, "not both"],
    ["a period that is too short", { cpuPeriodUs: 999 }, "1000 to 1000000"],
    ["a quota that is too short", { cpuQuotaUs: 999 }, "at least 1000"],
    ["more memory", { memoryMib: 32_768 }, "this host has 32768 MiB of memory"],
    ["endless memory", { memoryMib: Number.MAX_SAFE_INTEGER }, "this host has 32768 MiB of memory"],
    ["too little memory", { memoryMib: 5 }, "at least 6 MiB"],
    ["a fraction of memory", { memoryMib: 64.5 }, "whole MiB"],
  ])("%s", (_name, options, message) => {
    expect(() => sizeMachine(options, host)).toThrow(expect.objectContaining({ code: "invalid-option" }));
    expect(() => sizeMachine(options, host)).toThrow(message);
  });

  it("and this one can give something", () => {
    const { cpus, memoryMib } = hostCapacity();
    expect(cpus).toBeGreaterThanOrEqual(1);
    expect(memoryMib).toBeGreaterThan(256);
    expect(memoryMib).toBeLessThan(2 ** 24);
  });
});
