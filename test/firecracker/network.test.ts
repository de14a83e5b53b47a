import { expect, inject, test } from "vitest";
import type { ContainerOptions } from "../../src/container/options.ts";
import { startOn } from "../../src/container/start.ts";
import { networkOptionsContract } from "../contract/network-options.ts";
import { networkContract } from "../contract/network.ts";
import { PATIENCE, firecrackerHost, leftOfMachines } from "./setup.ts";

const { networkImage, paths } = inject("firecracker");

const start = async (options: ContainerOptions) => {
  const surroundings = { ...PATIENCE, prepareHost: async () => await firecrackerHost() };
  return await startOn(surroundings, networkImage, { paths, dockerConfig: null, ...options });
};

networkContract("Firecracker", start);
networkOptionsContract("Firecracker", { start, paths: () => paths });

test("nothing of all these is left", async () => {
  expect(await leftOfMachines()).toEqual([]);
});
