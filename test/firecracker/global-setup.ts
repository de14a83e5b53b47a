/**
 * Once before the suites: images to run, and a home to run it in. In an outer machine both are there already
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
    firecracker: { readonly image: string; readonly networkImage: string; readonly paths: Paths };
  }
}

function imagesAt(host: string): { readonly image: string; readonly networkImage: string } {
  return { image: `${host}/busybox:1`, networkImage: `${host}/network:1` };
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env["FLAMEBOX_TEST_REGISTRY"];
  await using cleanup = new CleanupStack();
  if (given === undefined) {
    const registry = cleanup.use(await startRegistry());
    for (const name of ["busybox", "network"] as const) {
      const { dir, tag } = await layout(name);
      await registry.push(dir, tag, `${name}:1`);
    }
    const kernelDir = join(locatePaths(process.env).dataDir, "kernels");
    const { paths } = cleanup.use(await makeHome(kernelDir));
    project.provide("firecracker", { ...imagesAt(registry.host), paths });
  } else {
    project.provide("firecracker", { ...imagesAt(given), paths: locatePaths(process.env) });
  }
  const owned = cleanup.move();
  return async () => await owned[Symbol.asyncDispose]();
}
