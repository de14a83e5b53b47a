import { expect, inject, test } from "vitest";
import { startOn } from "../../src/container/start.ts";
import { networkContract } from "../contract/network.ts";
import { PATIENCE, firecrackerHost, leftOfMachines } from "./setup.ts";

const { networkImage, paths } = inject("firecracker");

networkContract("Firecracker", async (options) => {
  const surroundings = { ...PATIENCE, prepareHost: async () => await firecrackerHost() };
  return await startOn(surroundings, networkImage, { paths, dockerConfig: null, ...options });
});

test("nothing of all these is left", async () => {
  expect(await leftOfMachines()).toEqual([]);
});
