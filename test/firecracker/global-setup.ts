/**
 * Once before the suites: an image to run, and a home to run it in. In an outer machine both are there already
 * (test/nested/outer.ts); on a host with KVM they are made for the tests.
 */
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import type { Paths } from "../../src/util/paths.ts";
import { locatePaths } from "../../src/util/paths.ts";
import { CleanupStack } from "../../src/util/cleanup.ts";
import { makeHome } from "../support/home.ts";
import { layout } from "../support/images/layouts.ts";
import { startRegistry } from "../support/registry.ts";

declare module "vitest" {
  interface ProvidedContext {
    firecracker: { readonly image: string; readonly paths: Paths };
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env["FLAMEBOX_TEST_IMAGE"];
  await using cleanup = new CleanupStack();
  if (given === undefined) {
    const registry = cleanup.use(await startRegistry());
    const { dir, tag } = await layout("busybox");
    await registry.push(dir, tag, "busybox:1");
    const kernelDir = join(locatePaths(process.env).dataDir, "kernels");
    const { paths } = cleanup.use(await makeHome(kernelDir));
    project.provide("firecracker", { image: `${registry.host}/busybox:1`, paths });
  } else {
    project.provide("firecracker", { image: given, paths: locatePaths(process.env) });
  }
  const owned = cleanup.move();
  return async () => await owned[Symbol.asyncDispose]();
}
