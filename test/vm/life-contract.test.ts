/** The contract of a container's life in QEMU, through the library's own built package. */
import { start } from "flamebox";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { lifeContract } from "../contract/life.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const image = `${inject("registry")}/flamebox/busybox:1`;

let home: Home;
beforeAll(async () => (home = await makeHome(inject("kernelDir"))));
afterAll(async () => await home[Symbol.asyncDispose]());

lifeContract("QEMU", async (options) => {
  return await start(image, { paths: home.paths, dockerConfig: null, vmm: "qemu", ...options });
});

test("nothing of all these is left", async () => {
  expect(await home.leftovers()).toEqual([]);
});
