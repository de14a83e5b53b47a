/**
 * A FLAMEBOX_HOME of a test's own, with the kernel already in it, and the built command line run against it.
 * Everything that FlameBox starts inherits the variable, so that what is left over can be found by it.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { cp, mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { locatePaths } from "../../src/util/paths.ts";
import type { Paths } from "../../src/util/paths.ts";
import { repository } from "./images/layouts.ts";
import { spawnWatched } from "./running.ts";
import type { Ended, Running } from "./running.ts";

export type { Ended, Running };

const MAIN = join(repository, "dist", "cli", "main.js");

export class Home implements AsyncDisposable {
  readonly dir: string;
  readonly paths: Paths;

  constructor(dir: string) {
    this.dir = dir;
    this.paths = locatePaths({ FLAMEBOX_HOME: dir });
  }

  /** Starts `flamebox ARGS…`. */
  spawn(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Running {
    const env = {
      ...process.env,
      // The host's own networks of CNI are not a test's.
      NETCONFPATH: join(this.dir, "no-networks-of-cni"),
      FLAMEBOX_HOME: this.dir,
      DOCKER_CONFIG: join(this.dir, "no-docker"),
      ...environment,
    };
    return spawnWatched(process.execPath, [MAIN, ...args], env);
  }

  /** Runs `flamebox ARGS…` to its end, with `input` as its stdin. stdout is latin1, byte for byte. */
  async run(
    args: readonly string[],
    {
      input = "",
      env = {},
    }: { readonly input?: string | Buffer; readonly env?: Readonly<Record<string, string>> } = {},
  ): Promise<Ended> {
    const running = this.spawn(args, env);
    running.child.stdin.end(input);
    return await running.ended;
  }

  /**
   * What is there and should not be once nothing runs: processes of this home, sockets, directories of
   * containers, unfinished files. Waits a little for processes that are about to end.
   */
  async leftovers(): Promise<string[]> {
    return await noneOf(() => [...this.#processes(), ...this.#files()]);
  }

  /** Of a killed command, the next one removes the files; its processes end with it. */
  async leftoverProcesses(): Promise<string[]> {
    return await noneOf(() => this.#processes());
  }

  /** What runs for this home now. */
  processes(): { readonly pid: number; readonly command: string }[] {
    return this.#processes().map((line) => {
      const [, pid, command = ""] = /^process (\d+): (.*)$/s.exec(line) ?? [];
      return { pid: Number(pid), command };
    });
  }

  #processes(): string[] {
    const marks = [`FLAMEBOX_HOME=${this.dir}`, this.dir];
    const read = (pid: string, name: string): string => {
      try {
        return readFileSync(`/proc/${pid}/${name}`, "latin1");
      } catch {
        return "";
      }
    };
    return readdirSync("/proc")
      .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
      .filter((pid) => {
        const text = `${read(pid, "environ")}\0${read(pid, "cmdline")}`;
        return text
          .split("\0")
          .some((word) => marks.some((mark) => word === mark || word.includes(`${mark}/`)));
      })
      .map((pid) => `process ${pid}: ${read(pid, "cmdline").replaceAll("\0", " ").slice(0, 200)}`);
  }

  #files(): string[] {
    const { dataDir, runtimeDir } = this.paths;
    const kept = ["containers", "names", "tmp", "leases", "locks", "jails", "cni"].map((name) =>
      join(dataDir, name),
    );
    // The folder of the control sockets stays.
    const sockets = join(runtimeDir, "containers");
    return [runtimeDir, sockets, ...kept].flatMap((dir) =>
      existsSync(dir)
        ? readdirSync(dir)
            .filter((name) => join(dir, name) !== sockets)
            .map((name) => `file ${basename(dir)}/${name}`)
        : [],
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}

async function noneOf(look: () => string[]): Promise<string[]> {
  let found: string[] = [];
  for (let tries = 0; tries < 100; tries++) {
    found = look();
    if (found.length === 0) return [];
    await sleep(50);
  }
  return found;
}

/**
 * A fresh home. Its kernels, initramfs and templates are those of the home where `setup` has run, by symbolic links,
 * and what is known of KVM is copied: fetching a kernel anew for every test file would load Debian's mirrors, and
 * booting for a template or a verdict takes longer than most tests. `ownTemplates` is for tests that damage or count them.
 */
export async function makeHome(
  kernelDir: string,
  { ownTemplates = false }: { readonly ownTemplates?: boolean } = {},
): Promise<Home> {
  const home = new Home(mkdtempSync(join(tmpdir(), "flamebox-home-")));
  const from = dirname(kernelDir);
  const to = home.paths.dataDir;
  await mkdir(to, { recursive: true, mode: 0o700 });
  linkEach(kernelDir, join(to, "kernels"), (name) => !/^(custom-|\.)/.test(name));
  linkEach(join(from, "guest"), join(to, "guest"), (name) => /^initramfs-\w+\.cpio$/.test(name));
  // The verdict on KVM, which takes a machine to find.
  if (existsSync(join(from, "probe"))) await cp(join(from, "probe"), join(to, "probe"), { recursive: true });
  if (!ownTemplates && existsSync(join(from, "templates")))
    symlinkSync(join(from, "templates"), join(to, "templates"));
  return home;
}

/** What the home makes of its own (another initramfs, a kernel by --kernel) stays in the home. */
function linkEach(from: string, to: string, wanted: (name: string) => boolean): void {
  mkdirSync(to, { mode: 0o700 });
  for (const name of readdirSync(from).filter(wanted)) symlinkSync(join(from, name), join(to, name));
}
