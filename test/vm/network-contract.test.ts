/** The network contract in QEMU, through the library's own built package. */
import { start } from "flamebox";
import type { ContainerOptions } from "flamebox";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { networkOptionsContract } from "../contract/network-options.ts";
import { networkContract } from "../contract/network.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const image = `${inject("registry")}/flamebox/network:1`;

let home: Home;
beforeAll(async () => (home = await makeHome(inject("kernelDir"))));
afterAll(async () => await home[Symbol.asyncDispose]());

const startInQemu = async (options: ContainerOptions) =>
  await start(image, { paths: home.paths, dockerConfig: null, vmm: "qemu", ...options });

networkContract("QEMU", startInQemu);
networkOptionsContract("QEMU", { start: startInQemu, paths: () => home.paths });

test("nothing of all these is left", async () => {
  expect(await home.leftovers()).toEqual([]);
});
