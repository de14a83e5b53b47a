import { expect, test } from "vitest";
import { machineContract } from "../contract/machine.ts";
import { firecrackerHost, leftOfMachines } from "./setup.ts";

machineContract("Firecracker", async () => await firecrackerHost());

test("nothing of all these machines is left", async () => {
  expect(await leftOfMachines()).toEqual([]);
});
