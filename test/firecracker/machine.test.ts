import { readdir } from "node:fs/promises";
import { expect, inject, test } from "vitest";
import { machineContract } from "../contract/machine.ts";
import { firecrackerHost } from "./setup.ts";

machineContract("Firecracker", firecrackerHost);

test("nothing of all these machines is left", async () => {
  expect(await readdir(inject("firecracker").paths.runtimeDir)).toEqual([]);
});
