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
    const names = [
      "busybox",
      "network",
      "debian",
      ...(process.getuid?.() === 0 ? (["edge"] as const) : []),
    ] as const;
    for (const name of names) {
      const { dir, tag } = await layout(name);
      await registry.push(dir, tag, `flamebox/${name}:${tag}`);
    }
    if (process.getuid?.() === 0) {
      const { dir } = await layout("services");
      for (const tag of serviceTags) await registry.push(dir, tag, `flamebox/services:${tag}`);
    }
  } catch (error) {
    await registry[Symbol.asyncDispose]();
    throw error;
  }
  project.provide("registry", registry.host);
  project.provide("kernelDir", join(locatePaths(process.env).dataDir, "kernels"));
  return async () => await registry[Symbol.asyncDispose]();
}
