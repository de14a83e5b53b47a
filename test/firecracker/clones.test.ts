import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { startOn } from "../../src/container/start.ts";
import { clonesContract } from "../contract/clones.ts";
import { PATIENCE, firecrackerHost, leftOfMachines } from "./setup.ts";

const { image, paths } = inject("firecracker");

/** An emulated processor's SVM does not always bear many guests that move from one to the other. */
const cpusetCpus = process.env["FLAMEBOX_TEST_CPUS"];

clonesContract("Firecracker", async () => {
  const surroundings = { ...PATIENCE, prepareHost: async () => await firecrackerHost() };
  return {
    start: async (options) =>
      await startOn(surroundings, image, { paths, dockerConfig: null, cpusetCpus, ...options }),
    templatesDir: join(paths.dataDir, "templates"),
  };
});

test("nothing of all these is left", async () => {
  expect(await leftOfMachines()).toEqual([]);
});
