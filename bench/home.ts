/** A home of a benchmark's own, with templates that it makes itself, and busybox in it. */
import { join } from "node:path";
import { locatePaths } from "../src/util/paths.ts";
import { makeHome } from "../test/support/home.ts";
import type { Home } from "../test/support/home.ts";
import { layout } from "../test/support/images/layouts.ts";
import { startRegistry } from "../test/support/registry.ts";

export interface PreparedHome extends AsyncDisposable {
  readonly home: Home;
  readonly image: string;
}

export async function prepareHome(): Promise<PreparedHome> {
  const { dir, tag } = await layout("busybox");
  const registry = await startRegistry();
  const kernelDir = join(locatePaths(process.env).dataDir, "kernels");
  const home = await makeHome(kernelDir, { ownTemplates: true });
  const dispose = async (): Promise<void> => {
    await home[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
  };
  const image = `${registry.host}/bench/busybox:1`;
  try {
    await registry.push(dir, tag, "bench/busybox:1");
    for (const words of [
      ["setup", "--quiet"],
      ["pull", "-q", image],
    ]) {
      const { code, stderr } = await home.run(words);
      if (code !== 0) throw new Error(stderr);
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  return { home, image, [Symbol.asyncDispose]: dispose };
}
