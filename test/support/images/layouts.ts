/**
 * The images that tests and benchmarks run: OCI layouts in the repository's cache, made by the scripts beside
 * this file when they are missing. Any number of processes may ask at once; one makes it, the others wait.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export interface Layout {
  readonly dir: string;
  readonly tag: string;
}

/** Found by looking upwards, because this file also runs as JavaScript from another directory. */
function findRepository(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, "package-lock.json"))) {
    if (dir === dirname(dir)) throw new Error("this file is not inside the repository");
    dir = dirname(dir);
  }
  return dir;
}

export const repository = findRepository();

const scripts = {
  /** Debian's static busybox with its applets; users root, www-data, nobody. */
  busybox: { script: "test/support/images/busybox.sh", tag: "1" },
  /** `busybox` and network-probe, for the network contract. */
  network: { script: "test/support/images/network.sh", tag: "1" },
  /** Debian 12 with Python. */
  debian: { script: "scripts/debian-image.sh", tag: "12" },
  /** Six layers of rare things below /edge, on `debian`. Only root can make it. */
  edge: { script: "test/support/images/edge.sh", tag: "1" },
  /** nginx, PostgreSQL, Redis, Node, Python and cron, a tag each (`serviceTags`). Only root can make it. */
  services: { script: "test/support/images/services.sh", tag: "packages" },
  /** Six large layers for the benchmarks. Only root can make it. */
  big: { script: "test/support/images/big.sh", tag: "1" },
} as const;

/** The tags of `services`: one layer set, started in six ways. */
export const serviceTags = ["nginx", "postgres", "redis", "node", "python", "cron"] as const;

export type LayoutName = keyof typeof scripts;

export async function layout(
  name: LayoutName,
  cacheDir = join(repository, ".cache", "images"),
): Promise<Layout> {
  const { script, tag } = scripts[name];
  const dir = join(cacheDir, name);
  try {
    await promisify(execFile)("bash", [join(repository, script), dir]);
  } catch (error) {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
    throw new Error(`the image "${name}" could not be made by ${script}: ${said}`, { cause: error });
  }
  return { dir, tag };
}
