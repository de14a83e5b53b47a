import { describe, expect, it } from "vitest";
import { allowedCpus, parseCpuList, requireCpus } from "../../src/machine/host-cpus.ts";

describe("lists of CPUs", () => {
  it.each([
    ["0", [0]],
    ["0-3", [0, 1, 2, 3]],
    ["5,0-1,1", [0, 1, 5]],
    ["8191", [8191]],
  ])("%s", (text, cpus) => {
    expect(parseCpuList(text)).toEqual(cpus);
  });

  it.each([
    "",
    "-1",
    "3-1",
    "0,",
    ",0",
    "0-",
    "a",
    "0 1",
    "8192",
    "0-99999",
    "0-1-2",
    "0x1",
    "0;reboot",
    `${"0,".repeat(3000)}0`,
  ])("refuses '%.20s'", (text) => {
    expect(() => parseCpuList(text)).toThrow(expect.objectContaining({ code: "invalid-option" }));
  });

  it("are of CPUs that this host has", async () => {
    const allowed = await allowedCpus();
    expect(await requireCpus(allowed.join(","))).toEqual(allowed);
    await expect(requireCpus("8191")).rejects.toMatchObject({
      code: "invalid-option",
      message: "this host has no CPU 8191 to run a machine on",
    });
  });
});
