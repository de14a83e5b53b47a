/**
 * A FLAMEBOX_HOME of a test's own, with the kernel already in it, and the built command line run against it.
 * Everything that FlameBox starts inherits the variable, so that what is left over can be found by it.
 */
import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { locatePaths } from "../../src/util/paths.ts";
import type { Paths } from "../../src/util/paths.ts";
import { repository } from "./images/layouts.ts";

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  /** Resolves when stdout has shown `text`; rejects when the process ends before. */
  shows(text: string): Promise<void>;
  readonly ended: Promise<Ended>;
}

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
      FLAMEBOX_HOME: this.dir,
      DOCKER_CONFIG: join(this.dir, "no-docker"),
      ...environment,
    };
    const child = spawn(process.execPath, [MAIN, ...args], { env, stdio: "pipe" });
    let stdout = "";
    let stderr = "";
    child.stdin.on("error", () => {});
    child.stdout.setEncoding("latin1").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const ended = new Promise<Ended>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
    });
    const shows = async (text: string): Promise<void> => {
      while (!stdout.includes(text)) {
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`flamebox ended before it showed "${text}": ${stderr}`);
        await sleep(20);
      }
    };
    return { child, shows, ended };
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
    let found: string[] = [];
    for (let tries = 0; tries < 100; tries++) {
      found = [...this.#processes(), ...this.#files()];
      if (found.length === 0) return [];
      await sleep(50);
    }
    return found;
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
    const dirs = [runtimeDir, ...["containers", "tmp", "leases", "locks"].map((name) => join(dataDir, name))];
    return dirs.flatMap((dir) =>
      existsSync(dir) ? readdirSync(dir).map((name) => `file ${basename(dir)}/${name}`) : [],
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** A fresh home. The kernel is copied: fetching it anew for every test file would load Debian's mirrors. */
export async function makeHome(kernelDir: string): Promise<Home> {
  const home = new Home(mkdtempSync(join(tmpdir(), "flamebox-home-")));
  await mkdir(home.paths.dataDir, { recursive: true, mode: 0o700 });
  cpSync(kernelDir, join(home.paths.dataDir, "kernels"), { recursive: true });
  return home;
}
