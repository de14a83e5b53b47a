/**
 * What goes through a machine: exactly, in bounded memory, and no faster than it is taken.
 * `npm run test:long` sends a GiB.
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { pull, start } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";
import { repository } from "../support/images/layouts.ts";

const SIZE_MIB = Number(process.env["FLAMEBOX_TEST_STREAM_MIB"] ?? 64);
const MIB = 1 << 20;
/** What the process that carries the streams may need beyond what it needs for a container without any. */
const MAX_GROWTH_MIB = 64;
const TIMEOUT_MS = 180_000 + SIZE_MIB * 1_000;

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const MAIN = join(repository, "dist", "cli", "main.js");
const run = promisify(execFile);

let home: Home;
let input: string;
let digest: string;
let idleMib: number;

/** Writes the largest resident size of a node process, in KiB, when it ends. */
const MEASURE = `--import=data:text/javascript,${encodeURIComponent(`
  import { readFileSync, writeFileSync } from "node:fs";
  process.on("exit", () => {
    const [, peak] = /^VmHWM:\\s+(\\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1"));
    writeFileSync(process.env.PEAK_FILE, peak);
  });`)}`;

/** Runs a shell script in which "$@" is `flamebox run -q …`; its output, and the peak of that process in MiB. */
async function shell(
  script: string,
  args: readonly string[],
): Promise<{ readonly stdout: string; readonly peakMib: number }> {
  const peakFile = join(home.dir, "peak");
  const flamebox = [process.execPath, MEASURE, MAIN, "run", "--rm", "-q", "--network", "none", ...args];
  const { stdout } = await run("bash", ["-o", "pipefail", "-ec", script, "bash", ...flamebox], {
    env: { ...process.env, FLAMEBOX_HOME: home.dir, PEAK_FILE: peakFile, INPUT: input },
    timeout: TIMEOUT_MS,
  });
  return { stdout, peakMib: Number(readFileSync(peakFile, "latin1")) / 1024 };
}

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  await pull(busybox, { paths: home.paths, dockerConfig: null });
  input = join(home.dir, "input");
  // Numbers in order: whatever is lost, doubled or moved shows.
  const make = `{ seq 1 1000000000 || true; } | head -c ${SIZE_MIB * MIB} >"$1"; sha256sum <"$1"`;
  digest = (await run("bash", ["-c", make, "bash", input])).stdout;
  idleMib = (await shell('"$@"', [busybox, "true"])).peakMib;
});
afterAll(async () => await home[Symbol.asyncDispose]());

describe(`${SIZE_MIB} MiB`, () => {
  test.each<[name: string, script: string]>([
    ["from a file, to a pipe", '"$@" <"$INPUT" | sha256sum'],
    ["from a pipe, to a file", 'cat "$INPUT" | "$@" >"$INPUT.out"; sha256sum <"$INPUT.out"; rm "$INPUT.out"'],
  ])("come through cat as they are, %s, in bounded memory", { timeout: TIMEOUT_MS }, async (name, script) => {
    const { stdout, peakMib } = await shell(script, ["-i", busybox, "cat"]);
    expect(stdout).toBe(digest);
    console.log(
      `${name}: peak ${peakMib.toFixed(0)} MiB, ${idleMib.toFixed(0)} MiB for a run without streams`,
    );
    expect(peakMib - idleMib).toBeLessThanOrEqual(MAX_GROWTH_MIB);
  });

  test("to a process that reads none of it do not pile up", { timeout: TIMEOUT_MS }, async () => {
    const script = `{ head -c ${SIZE_MIB * MIB} /dev/zero || true; } | "$@"`;
    const { stdout, peakMib } = await shell(script, ["-i", busybox, "sh", "-c", "sleep 3; echo unread"]);
    expect(stdout).toBe("unread\n");
    expect(peakMib - idleMib).toBeLessThanOrEqual(MAX_GROWTH_MIB);
  });
});

describe("back pressure", () => {
  /** Tells on stderr how many blocks of 64 KiB it has got rid of. */
  const producer = "i=0; while head -c 65536 /dev/zero; do i=$((i + 1)); echo $i >&2; done";

  test("stops a process whose output nobody reads, and lets it go on", async () => {
    const command = ["sh", "-c", producer];
    await using container = await start(busybox, {
      paths: home.paths,
      network: "none",
      pull: "never",
      command,
    });
    let told = "";
    container.stderr.setEncoding("latin1").on("data", (text: string) => (told += text));
    const blocks = (): number => Number(told.trim().split("\n").at(-1) ?? 0);
    let before = -1;
    while (blocks() === 0 || blocks() !== before) {
      before = blocks();
      await sleep(1_500);
    }
    // The window, what lies in a pipe, and what this side's stream takes in advance.
    expect(before * 65_536).toBeLessThan(2 * MIB);
    const taken = { bytes: 0 };
    container.stdout.on("data", (chunk: Buffer) => (taken.bytes += chunk.length));
    while (taken.bytes < 8 * MIB) await sleep(50);
    expect(blocks()).toBeGreaterThan(before);
  });

  test("stops it through a pipe that nobody reads, and Ctrl-C still ends it", async () => {
    const args = [MAIN, "run", "--rm", "-q", "--network", "none", busybox, "sh", "-c", producer];
    const env = { ...process.env, FLAMEBOX_HOME: home.dir };
    const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.pause();
    await once(child.stderr, "data");
    await sleep(3_000);
    const ended = once(child, "exit");
    child.kill("SIGINT");
    await sleep(300);
    child.kill("SIGINT");
    expect(await Promise.race([ended, sleep(20_000)])).toEqual([130, null]);
  });
});

test("nothing is left", async () => {
  await home.run(["images"]);
  expect(await home.leftovers()).toEqual([]);
});
