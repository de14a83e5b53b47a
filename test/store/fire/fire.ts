/** Shoots at processes: strace lets one system call of many fail, or kills the process in its place. */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { expect } from "vitest";
import { checkImages } from "../../../src/images/usage.ts";
import { collect } from "../../../src/store/collect.ts";
import { openStore } from "../../../src/store/store.ts";
import { pull, use } from "./images.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

export interface Child extends AsyncDisposable {
  /** `inject`: for strace; without it the process runs undisturbed. */
  run(args: readonly string[], inject?: string): Promise<Ended>;
  /** How many of each call that thread makes that makes most of them: what `when=` can count to. */
  count(args: readonly string[], calls: readonly string[]): Promise<ReadonlyMap<string, number>>;
}

export interface Ended {
  readonly signal: NodeJS.Signals | null;
  readonly exitCode: number | null;
  readonly stderr: string;
  /** What it printed last; empty when it was killed before. */
  readonly said: Readonly<Record<string, unknown>>;
  /** Whether what was to be injected was: a life need not come to its n-th call. */
  readonly wasHit: boolean;
}

function end(program: string, args: readonly string[]): Promise<Omit<Ended, "wasHit">> {
  // One thread for the file system, so that the n-th call is the n-th of one thread.
  const env = { ...process.env, UV_THREADPOOL_SIZE: "1", NODE_OPTIONS: "" };
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode, signal) => {
      let said = {};
      try {
        said = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as typeof said;
      } catch {
        // Killed, or not even started.
      }
      resolve({ signal, exitCode, stderr, said });
    });
  });
}

/** The child in one file, so that it starts in a few hundredths of a second. */
export async function makeChild(): Promise<Child> {
  const cache = join(ROOT, "node_modules", ".cache");
  await mkdir(cache, { recursive: true });
  const dir = await mkdtemp(join(cache, "flamebox-fire-"));
  const bundle = await rolldown({
    input: join(ROOT, "test/store/fire/child.ts"),
    platform: "node",
    // Node 20 knows no `using`.
    transform: { target: "es2023" },
    external: ["undici", "fzstd"],
  });
  const script = join(dir, "child.mjs");
  await bundle.write({ file: script, format: "esm", codeSplitting: false });
  await bundle.close();
  let runs = 0;
  return {
    async run(args, inject) {
      if (inject === undefined) return { ...(await end(process.execPath, [script, ...args])), wasHit: false };
      const [call = ""] = inject.split(":", 1);
      const trace = join(dir, `trace${++runs}`);
      // Not --seccomp-bpf, with which strace 6.1 counts the first call only.
      const how = ["-f", "-qqq", "-o", trace, "-e", `trace=${call}`, "-e", `inject=${inject}`];
      const ended = await end("strace", [...how, process.execPath, script, ...args]);
      const isError = (await readFile(trace, "latin1")).includes("(INJECTED)");
      await rm(trace);
      return { ...ended, wasHit: isError || ended.signal === "SIGKILL" };
    },
    async count(args, calls) {
      const trace = join(dir, "trace");
      await end("strace", [
        "-f",
        "-qqq",
        "-o",
        trace,
        "-e",
        `trace=${calls.join()}`,
        process.execPath,
        script,
        ...args,
      ]);
      const byThread = new Map<string, number>();
      for (const line of (await readFile(trace, "latin1")).split("\n")) {
        const made = /^(\d+) +(\w+)\(/.exec(line);
        if (made) byThread.set(`${made[2]} ${made[1]}`, (byThread.get(`${made[2]} ${made[1]}`) ?? 0) + 1);
      }
      const most = (call: string) =>
        Math.max(0, ...[...byThread].filter(([key]) => key.startsWith(`${call} `)).map(([, count]) => count));
      return new Map(calls.map((call) => [call, most(call)]));
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

/** Whether processes can be traced here: containers and hardened kernels forbid it. */
export async function canTrace(): Promise<boolean> {
  try {
    const { exitCode } = await end("strace", ["-f", "-qqq", "-o", "/dev/null", "-e", "trace=getpid", "true"]);
    return exitCode === 0;
  } catch {
    return false;
  }
}

/** A directory on a file system that nobody waits for: what is tested are orders, not disks. */
export async function newDir(): Promise<string> {
  return await mkdtemp(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "flamebox-fire-"));
}

/**
 * The next command: the store heals, `system check` finds nothing wrong in it, nothing wrong is taken for right, and a
 * pull works.
 */
export async function expectHealed(dataDir: string, what: string, wasKilled = false): Promise<void> {
  await using store = await openStore({ dataDir });
  expect(await checkImages(store), what).toEqual([]);
  // A lease that its process could not remove is a dead one's: nobody heeds it, and any collection takes it.
  if (!wasKilled) await collect(store);
  const { tmpDir, leasesDir, locksDir } = store.layout;
  expect(
    await Promise.all([tmpDir, leasesDir, locksDir].map(async (dir) => (await readdir(dir)).length)),
    what,
  ).toEqual([1, 0, 0]);
  for (const number of [4, 5]) await use(store, await pull(store, number), number);
  expect(await checkImages(store), what).toEqual([]);
}
