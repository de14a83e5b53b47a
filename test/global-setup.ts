/**
 * Once before all tests in machines: the build, the kernel, the images, and a registry with them in it. Tests
 * read `inject("registry")` and `inject("kernelDir")`.
 */
import { execFile } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { TestProject } from "vitest/node";
import { locatePaths } from "../src/util/paths.ts";
import { layout, repository, serviceTags } from "./support/images/layouts.ts";
import type { LayoutName } from "./support/images/layouts.ts";
import { startRegistry } from "./support/registry.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** `127.0.0.1:PORT`, with flamebox/busybox:1, flamebox/network:1, flamebox/debian:12 and, for root, flamebox/edge:1 and flamebox/services:TAG. */
    registry: string;
    /** `kernels/` of a home where `flamebox setup` has run; tests link it into theirs. */
    kernelDir: string;
  }
}

const run = promisify(execFile);

function newest(dir: string): number {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Math.max(0, ...files.map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs));
}

/** scripts/test.sh has built already; a single test that is run by hand must not run an old build. */
async function buildWhenOlder(): Promise<void> {
  const dist = join(repository, "dist");
  const built = statSync(join(dist, "cli", "main.js"), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (built < newest(join(repository, "src")))
    await run("npm", ["run", "--silent", "build"], { cwd: repository });
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await buildWhenOlder();
  await run(process.execPath, [join(repository, "dist", "cli", "main.js"), "setup", "--quiet"]);
  const registry = await startRegistry();
  try {
    const root = process.getuid?.() === 0;
    const push = async (name: LayoutName, tags: readonly string[]): Promise<void> => {
      const { dir } = await layout(name);
      for (const tag of tags) await registry.push(dir, tag, `flamebox/${name}:${tag}`);
    };
    // Each is made by programs of one thread. The edge image stands on Debian's, and the network's on busybox's.
    const made = await Promise.allSettled([
      push("busybox", ["1"]).then(async () => await push("network", ["1"])),
      push("debian", ["12"]).then(async () => root && (await push("edge", ["1"]))),
      root && push("services", serviceTags),
    ]);
    const failed = made.find((one) => one.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  } catch (error) {
    await registry[Symbol.asyncDispose]();
    throw error;
  }
  project.provide("registry", registry.host);
  project.provide("kernelDir", join(locatePaths(process.env).dataDir, "kernels"));
  return async () => await registry[Symbol.asyncDispose]();
}
