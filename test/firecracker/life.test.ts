import { expect, inject, test } from "vitest";
import { startOn } from "../../src/container/start.ts";
import { lifeContract } from "../contract/life.ts";
import { PATIENCE, firecrackerHost, leftOfMachines } from "./setup.ts";

const { image, paths } = inject("firecracker");

lifeContract("Firecracker", async (options) => {
  const surroundings = { ...PATIENCE, prepareHost: async () => await firecrackerHost() };
  return await startOn(surroundings, image, { paths, dockerConfig: null, ...options });
});

test("nothing of all these is left", async () => {
  expect(await leftOfMachines()).toEqual([]);
});
