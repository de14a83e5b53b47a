/** What of a container can be changed, and how much of it a machine that runs already has room for. */
import { describe, expect, it } from "vitest";
import { changeRecord, changeRecordHere, limitsWithin } from "../../src/container/lifecycle/limits.ts";
import type { ContainerChange } from "../../src/container/lifecycle/limits.ts";
import { allowedCpus } from "../../src/machine/host-cpus.ts";
import type { ContainerRecord, KeptOptions } from "../../src/container/lifecycle/record.ts";

const host = { cpus: 8, memoryMib: 32_768 };
const MIB = 1 << 20;
const bounds = { vcpus: 2, memoryBytes: 256 * MIB };

function record(options: KeptOptions = {}, autoRemove = false): ContainerRecord {
  return { options, autoRemove, restart: { name: "no", maximumRetryCount: 0 } } as unknown as ContainerRecord;
}

describe("a changed record", () => {
  it.each<[string, KeptOptions, ContainerChange, KeptOptions]>([
    [
      "keeps what is not given",
      { memoryMib: 64, env: { A: "b" } },
      { pidsLimit: 5 },
      { memoryMib: 64, pidsLimit: 5, env: { A: "b" } },
    ],
    [
      "has CPUs in the place of a quota",
      { cpuQuotaUs: 5_000, cpuPeriodUs: 10_000 },
      { cpus: 2 },
      { cpus: 2 },
    ],
    [
      "keeps a quota when CPUs are not given",
      { cpuQuotaUs: 5_000 },
      { memoryMib: 10 },
      { cpuQuotaUs: 5_000, memoryMib: 10 },
    ],
    ["has a quota in the place of CPUs", { cpus: 2 }, { cpuQuotaUs: 5_000 }, { cpuQuotaUs: 5_000 }],
    [
      "has another quota in the period that it had",
      { cpuQuotaUs: 5_000, cpuPeriodUs: 10_000 },
      { cpuQuotaUs: 7_000 },
      { cpuQuotaUs: 7_000, cpuPeriodUs: 10_000 },
    ],
    ["takes no member that is undefined", { memoryMib: 64 }, { memoryMib: undefined }, { memoryMib: 64 }],
  ])("%s", (_, options, change, expected) => {
    const changed = changeRecord(record(options), change, host).options;
    expect(JSON.parse(JSON.stringify(changed))).toEqual(expected);
  });

  it.each<[string, KeptOptions, ContainerChange, RegExp]>([
    ["too little memory", {}, { memoryMib: 5 }, /at least 6 MiB/],
    ["more memory than the host", {}, { memoryMib: 40_000 }, /too little/],
    ["more CPUs than the host", {}, { cpus: 9 }, /8 CPUs/],
    ["CPUs and a quota", {}, { cpus: 1, cpuQuotaUs: 5_000 }, /not both/],
    ["a period out of bounds", {}, { cpuPeriodUs: 5 }, /microseconds/],
    ["less memory than is reserved", { memoryReservationBytes: 64 * MIB }, { memoryMib: 32 }, /reserved/],
    ["less swap than memory", { memorySwapBytes: 64 * MIB }, { memoryMib: 128 }, /less than that of memory/],
    ["shares out of bounds", {}, { cpuShares: 1 }, /from 2/],
    ["processes out of bounds", {}, { pidsLimit: -2 }, /from -1/],
  ])("is refused with %s", (_, options, change, message) => {
    expect(() => changeRecord(record(options), change, host)).toThrow(message);
  });

  it("is refused with CPUs that this host does not have", async () => {
    await expect(changeRecordHere(record(), { cpusetCpus: "8191" })).rejects.toThrow(/no CPU 8191/);
    expect(
      (await changeRecordHere(record(), { cpusetCpus: String((await allowedCpus())[0]) })).options,
    ).toEqual({
      cpusetCpus: String((await allowedCpus())[0]),
    });
  });

  it("is refused when a container that goes with its end is to be started again", () => {
    const restart = { name: "always", maximumRetryCount: 0 } as const;
    expect(() => changeRecord(record({}, true), { restart }, host)).toThrow(/removed/);
  });
});

describe("limits within a machine of 2 vCPUs and 256 MiB for its container", () => {
  const none = { limit: 256 * MIB, reservation: 1 };
  const free = { shares: 1_024, quota: -1, period: 100_000 };
  it.each<[string, KeptOptions, object, object]>([
    ["by default one CPU", {}, { memory: none, cpu: { ...free, quota: 100_000 }, pids: { limit: -1 } }, {}],
    ["all of it", { cpus: 2, memoryMib: 256 }, { memory: none, cpu: free }, {}],
    [
      "less",
      { cpus: 0.5, memoryMib: 64, pidsLimit: 7, cpuShares: 2 },
      { memory: { limit: 64 * MIB }, cpu: { shares: 2, quota: 50_000 }, pids: { limit: 7 } },
      {},
    ],
    [
      "a period of one's own",
      { cpuQuotaUs: 5_000, cpuPeriodUs: 10_000 },
      { cpu: { quota: 5_000, period: 10_000 } },
      {},
    ],
    [
      "more of both",
      { cpus: 2.5, memoryMib: 257 },
      { memory: none, cpu: free },
      { cpus: 2.5, memoryBytes: 257 * MIB },
    ],
    [
      "a reservation beyond it",
      { memoryMib: 512, memoryReservationBytes: 300 * MIB },
      { memory: { limit: 256 * MIB, reservation: 256 * MIB } },
      { memoryBytes: 512 * MIB },
    ],
  ])("%s", (_, options, resources, beyond) => {
    const limits = limitsWithin(bounds, options, host);
    expect(limits.resources).toMatchObject(resources);
    expect(limits.beyond).toEqual(beyond);
  });
});
