/** Containers that live: every verb of the command line, on real machines, as somebody would type it. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Ended, Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const TICKER = ["sh", "-c", "echo began; i=0; while true; do echo tick $i; i=$((i+1)); sleep 1; done"];
/** As process 1, which ignores what it does not handle. */
const POLITE = ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo began; while true; do sleep 0.1; done"];
let home: Home;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  const pulled = await home.run(["pull", "-q", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
});
afterEach(async () => {
  const { stdout } = await home.run(["ps", "-aq"]);
  const ids = stdout.split("\n").filter((id) => id !== "");
  if (ids.length > 0) await fine("rm", "-f", ...ids);
  const left = await home.leftovers();
  if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

/** Output of a command that has to succeed, without its last line feed. */
async function fine(...args: string[]): Promise<string> {
  const ended = await home.run(args);
  expect(ended, `${args.join(" ")}: ${ended.stderr}`).toMatchObject({ code: 0, signal: null });
  return ended.stdout.trimEnd();
}

async function detached(name: string, command: readonly string[], ...options: string[]): Promise<string> {
  return await fine("run", "-q", "-d", "--name", name, "--network", "none", ...options, busybox, ...command);
}

const status = async (name: string) => await fine("inspect", "-f", "{{.State.Status}}", name);

async function until(what: string, seen: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await seen())) {
    if (performance.now() > deadline) throw new Error(`not seen in a minute: ${what}`);
    await sleep(200);
  }
}

const logged = async (name: string, text: string) =>
  await until(`${text} in the log`, async () => (await fine("logs", name)).includes(text));

describe("a container that was left running", () => {
  test("keeps what its network refused, and what its process had to warn of", async () => {
    const wants = "while true; do echo said; echo | nc -w 1 10.0.2.2 22; sleep 0.3; done";
    const id = await fine("create", "-q", "--name", "eager", "--egress", "deny", busybox, "sh", "-c", wants);
    // Its log cannot be opened, which nobody is there to hear.
    mkdirSync(join(home.paths.dataDir, "containers", id, "container.log"));
    await fine("start", "eager");
    await until("a refusal", async () => (await fine("logs", "--egress", "eager")).includes("10.0.2.2:22"));
    expect(await fine("inspect", "-f", "{{json .State.Warnings}}", "eager")).toContain("log ends here");
    await fine("stop", "-t", "0", "eager");
    const lines = (await fine("logs", "--egress", "--json", "eager")).split("\n");
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ protocol: "tcp", port: 22, count: 1 });
    rmSync(join(home.paths.dataDir, "containers", id, "container.log"), { recursive: true });
    await fine("rm", "eager");
  });

  test("is listed, logged, executed into, and stopped", async () => {
    const id = await detached("ticker", TICKER, "-l", "a=b");
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(await fine("ps", "--format", "{{.ID}} {{.Names}} {{.State}}")).toBe(
      `${id.slice(0, 12)} ticker running`,
    );
    for (const [filter, found] of [
      ["name=tick", true],
      ["label=a=b", true],
      ["label=a=c", false],
      ["status=exited", false],
      [`id=${id.slice(0, 6)}`, true],
      [`ancestor=${busybox}`, true],
    ] as const)
      expect([filter, await fine("ps", "-q", "-f", filter)]).toEqual([filter, found ? id.slice(0, 12) : ""]);
    for (const verb of ["stop", "logs", "inspect", "update", "rm"]) {
      const options = verb === "update" ? ["--cpus", "1"] : [];
      const { code, stderr } = await home.run([verb, ...options, "tikcer"]);
      expect([verb, code, stderr]).toEqual([verb, 1, expect.stringContaining("did you mean ticker?")]);
    }
    await logged("ticker", "tick 1");
    expect(await fine("logs", "--tail", "1", id.slice(0, 8))).toMatch(/^tick \d+$/);
    expect(await fine("logs", "-t", "ticker")).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]{18}Z began\n/);
    expect(await fine("exec", "ticker", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '")).toContain(
      "sh -c echo began",
    );
    expect(await fine("stop", "-t", "0", "ticker")).toBe("ticker");
    expect(await status("ticker")).toBe("exited");
    expect(await fine("ps", "-q")).toBe("");
    expect(await fine("ps", "-aq")).toBe(id.slice(0, 12));
    expect(await fine("rm", "ticker")).toBe("ticker");
    expect((await home.run(["inspect", "ticker"])).stderr).toContain(
      "there is neither a container nor an image ticker",
    );
  });

  test("has its files again when it is started again, and its log goes on", async () => {
    await detached("files", [
      "sh",
      "-c",
      "echo run $(cat /mark 2>/dev/null | wc -l) >>/mark; tail -n 1 /mark",
    ]);
    expect(await fine("wait", "files")).toBe("0");
    await fine("start", "-a", "files");
    await fine("start", "files");
    await until("its end", async () => (await status("files")) === "exited");
    expect(await fine("logs", "files")).toBe("run 0\nrun 1\nrun 2");
    expect(await fine("inspect", "-f", "{{.State.ExitCode}} {{.RestartCount}}", "files")).toBe("0 0");
  });

  test("takes signals and the stop signal, and tells its own exit code", async () => {
    await detached("polite", POLITE);
    await logged("polite", "began");
    await fine("stop", "polite");
    expect(await fine("inspect", "-f", "{{.State.ExitCode}}", "polite")).toBe("3");
    await fine("start", "polite");
    await until("its second start", async () => (await fine("logs", "polite")).split("began").length === 3);
    const waiting = home.run(["wait", "polite"]);
    await sleep(500);
    await fine("kill", "-s", "TERM", "polite");
    expect((await waiting).stdout).toBe("3\n");
    expect((await home.run(["kill", "polite"])).stderr).toContain("is not running");
  });

  test("is halted and goes on", async () => {
    await detached("ticker", TICKER);
    await logged("ticker", "tick 0");
    await fine("pause", "ticker");
    expect(await status("ticker")).toBe("paused");
    const before = await fine("logs", "ticker");
    await sleep(2_500);
    expect(await fine("logs", "ticker")).toBe(before);
    expect((await home.run(["exec", "ticker", "true"])).stderr).toContain("paused");
    await fine("unpause", "ticker");
    await until("another tick", async () => (await fine("logs", "ticker")) !== before);
    // Its clock was set: a halted machine knows nothing of the time.
    const seconds = Number(await fine("exec", "ticker", "date", "+%s"));
    expect(Math.abs(seconds - Date.now() / 1000)).toBeLessThan(3);
  });

  test("is restarted, renamed, and changed", async () => {
    await detached("old", POLITE);
    await logged("old", "began");
    await fine("restart", "old");
    expect(await status("old")).toBe("running");
    await fine("rename", "old", "new");
    expect((await home.run(["inspect", "old"])).code).toBe(1);
    await fine("update", "--restart", "always", "new");
    expect(await fine("inspect", "-f", "{{.Name}} {{.HostConfig.RestartPolicy.Name}}", "new")).toBe(
      "new always",
    );
    await fine("exec", "new", "kill", "-TERM", "1");
    await until(
      "a restart by its policy",
      async () => (await fine("inspect", "-f", "{{.RestartCount}}", "new")) === "1",
    );
    await fine("stop", "-t", "0", "new");
    expect(await status("new")).toBe("exited");
  });
});

describe("logs -f", () => {
  test("has every line once and in order while the log rotates under it", async () => {
    const lines = 1_200;
    const script = `echo ready; while [ ! -e /go ]; do sleep 0.1; done; i=0; while [ $i -lt ${lines} ]; do
      echo "number $i ${"x".repeat(30)}"; i=$((i+1)); [ $((i % 100)) -ne 0 ] || sleep 0.2; done`;
    // Some hundred lines of 90 bytes a file: a dozen rotations, of which the first files are not kept.
    await detached("spinner", ["sh", "-c", script], "--log-opt", "max-size=8k", "--log-opt", "max-file=6");
    const numbersOf = (text: string) =>
      [...text.matchAll(/^number (\d+) x{30}$/gm)].map(([, number]) => Number(number));
    const follower = home.spawn(["logs", "-f", "spinner"]);
    await follower.shows("ready");
    await fine("exec", "spinner", "touch", "/go");
    await follower.shows("number 300 ");
    // Begins in the middle of it, among rotations.
    const late = home.spawn(["logs", "-f", "--tail", "5", "spinner"]);
    const [all, some] = await Promise.all([follower.ended, late.ended]);
    expect([all.code, all.stderr, some.code, some.stderr]).toEqual([0, "", 0, ""]);
    expect(all.stdout).toMatch(/^ready\nnumber 0 /);
    expect(all.stdout.split("\n")).toHaveLength(lines + 2);
    expect(numbersOf(all.stdout)).toEqual(Array.from({ length: lines }, (_, number) => number));
    const [first = 0] = numbersOf(some.stdout);
    expect(first).toBeGreaterThan(200);
    expect(numbersOf(some.stdout)).toEqual(Array.from({ length: lines - first }, (_, at) => first + at));

    const dir = await fine("inspect", "-f", "{{.LogPath}}", "spinner");
    expect(dir).toContain("container.log");
    const [oldest = 0] = numbersOf(await fine("logs", "spinner"));
    // Six files are kept; that those before are gone says that there were more rotations than that.
    expect(oldest).toBeGreaterThan(200);
  });
});

describe("update", () => {
  const cgroup = async (name: string, file: string) =>
    await fine("exec", name, "cat", `/sys/fs/cgroup/${file}`);
  const MIB = 1 << 20;

  test("gives a running container its limits at once, and tells what has to wait", async () => {
    await detached("grown", TICKER, "--cpus", "1", "-m", "128m");
    const update = async (...args: string[]) => await home.run(["update", ...args, "grown"]);
    expect(
      await update("-m", "64m", "--cpus", "0.5", "--pids-limit", "40", "--memory-reservation", "16m"),
    ).toMatchObject({ code: 0, stdout: "grown\n", stderr: "" });
    expect(await cgroup("grown", "memory.max")).toBe(String(64 * MIB));
    expect(await cgroup("grown", "memory.low")).toBe(String(16 * MIB));
    expect(await cgroup("grown", "cpu.max")).toBe("50000 100000");
    expect(await cgroup("grown", "pids.max")).toBe("40");
    expect(await fine("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "grown")).toBe(
      `${64 * MIB} 40`,
    );
    expect(await fine("stats", "--no-stream", "--format", "{{.MemUsage}}", "grown")).toMatch(/ \/ 67\.1MB$/);

    // What it holds cannot be taken from it; and then nothing has changed.
    await fine("exec", "grown", "dd", "if=/dev/zero", "of=/dev/shm/held", "bs=1M", "count=20");
    const refused = await update("-m", "18m", "--pids-limit", "7");
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(/holds \d+ bytes of memory/);
    expect(refused.stderr).toContain("stop the container first");
    expect(await cgroup("grown", "memory.max")).toBe(String(64 * MIB));
    expect(await cgroup("grown", "pids.max")).toBe("40");
    expect(await fine("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "grown")).toBe(
      `${64 * MIB} 40`,
    );

    const beyond = await update("-m", "192m", "--cpus", "2", "--pids-limit", "-1");
    expect(beyond.code).toBe(0);
    expect(beyond.stderr).toMatch(/from its next start on it has 2 CPUs .*and 192 MiB of memory/);
    expect(await cgroup("grown", "memory.max")).toBe(String(128 * MIB));
    expect(await cgroup("grown", "cpu.max")).toBe("max 100000");
    expect(await cgroup("grown", "pids.max")).toBe("max");
    const timed = await update("--cpu-quota", "30000", "--cpu-period", "60000", "--cpuset-cpus", "0");
    expect(timed.code).toBe(0);
    expect(timed.stderr).toContain("from its next start on it has the CPUs 0 of this host");
    expect(await cgroup("grown", "cpu.max")).toBe("30000 60000");
    expect(await update("--cpus", "2")).toMatchObject({ code: 0 });
    await fine("restart", "-t", "0", "grown");
    expect(await cgroup("grown", "memory.max")).toBe(String(192 * MIB));
    expect(await fine("exec", "grown", "nproc")).toBe("2");
  });

  test("changes one that does not run for its next start, and refuses what cannot be", async () => {
    await fine("create", "-q", "--name", "still", "--network", "none", busybox, ...TICKER);
    await fine("update", "-m", "96m", "--cpu-shares", "512", "still");
    for (const [wrong, why] of [
      [["-m", "1m"], "at least 6 MiB"],
      [["--cpus", "4000"], "this host has"],
      [["--memory-reservation", "1g"], "more memory is reserved"],
      [["--cpu-shares", "1"], "from 2 to"],
    ] as const) {
      const { code, stderr } = await home.run(["update", ...wrong, "still"]);
      expect([code, stderr]).toEqual([1, expect.stringContaining(why)]);
    }
    await fine("start", "still");
    expect(await cgroup("still", "memory.max")).toBe(String(96 * MIB));
    // 512 shares as the OCI runtimes have it: a weight below the default of 100.
    expect(Number(await cgroup("still", "cpu.weight"))).toBeLessThan(100);
    await fine("pause", "still");
    expect((await home.run(["update", "-m", "64m", "still"])).stderr).toContain("flamebox unpause still");
    await fine("unpause", "still");
  });
});

describe("exec", () => {
  let shared: string;
  beforeAll(() => {
    shared = "exec";
  });

  test("has its own streams, user, directory, variables and exit code", async () => {
    await detached(shared, TICKER, "-e", "OWN=1");
    const run = async (...args: string[]): Promise<Ended> => await home.run(["exec", ...args]);
    expect(await run(shared, "sh", "-c", "echo out; echo err >&2; exit 5")).toMatchObject({
      code: 5,
      stdout: "out\n",
      stderr: "err\n",
    });
    expect(
      (await run("-u", "www-data", "-w", "/tmp", "-e", "B=2", shared, "sh", "-c", "id -un; pwd; echo $OWN$B"))
        .stdout,
    ).toBe("www-data\n/tmp\n12\n");
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 7) % 256));
    const echoed = await home.run(["exec", "-i", shared, "cat"], { input: bytes });
    expect(Buffer.from(echoed.stdout, "latin1").equals(bytes)).toBe(true);
    expect(await run(shared, "no-such-command")).toMatchObject({ code: 127 });
    expect(await run(shared, "/etc/passwd")).toMatchObject({ code: 126 });
    expect(await run("-t", shared, "tty")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\/dev\/pts\/\d/) as string,
    });
    await fine("exec", "-d", shared, "sh", "-c", "sleep 0.2; touch /tmp/left");
    await until("what the detached one does", async () => (await run(shared, "ls", "/tmp/left")).code === 0);
  });
});

describe("a container that a command waits for", () => {
  test("has a name while it runs, and stays when it has ended, unless --rm", async () => {
    const running = home.spawn(["run", "-q", "--network", "none", "--name", "front", busybox, ...POLITE]);
    await running.shows("began");
    expect(await fine("exec", "front", "echo", "from beside")).toBe("from beside");
    expect(await fine("ps", "--format", "{{.Names}}")).toBe("front");
    await fine("stop", "front");
    expect(await running.ended).toMatchObject({ code: 3 });
    expect(await fine("ps", "-a", "--format", "{{.Names}} {{.ExitCode}}")).toBe("front 3");
    expect(await fine("logs", "front")).toBe("began\nbye");
    expect((await home.run(["run", "--rm", "-q", "--name", "front", busybox, "true"])).stderr).toContain(
      'the name "front" is container',
    );
    await fine("rm", "front");
    await fine("run", "--rm", "-q", "--network", "none", "--name", "front", busybox, "true");
    expect(await fine("ps", "-aq")).toBe("");
  });

  test("is ended by --rm when it is left to itself", async () => {
    const cidfile = join(home.dir, "cid");
    const id = await fine(
      "run",
      "-q",
      "-d",
      "--rm",
      "--cidfile",
      cidfile,
      "--network",
      "none",
      busybox,
      "sleep",
      "1",
    );
    expect(readFileSync(cidfile, "utf8")).toBe(id);
    await until("its removal", async () => (await fine("ps", "-aq")) === "");
    expect(existsSync(join(home.paths.dataDir, "containers", id))).toBe(false);
  });
});

describe("create and attach", () => {
  test("what is created does not run; what is attached is heard from its first byte", async () => {
    const id = await fine(
      "create",
      "-q",
      "-i",
      "--name",
      "made",
      "--network",
      "none",
      busybox,
      "sh",
      "-c",
      "echo first; cat; exit 4",
    );
    expect(await status("made")).toBe("created");
    const ended = await home.run(["start", "-ai", "made"], { input: "through\n" });
    expect(ended).toMatchObject({ code: 4, stdout: "first\nthrough\n" });
    expect(await fine("ps", "-a", "--no-trunc", "--format", "{{.ID}}")).toBe(id);
  });

  test("attaches to what runs, and leaves it", async () => {
    await detached("ticker", TICKER);
    const attached = home.spawn(["attach", "--no-stdin", "--no-sig-proxy", "ticker"]);
    await attached.shows("tick");
    attached.child.kill("SIGKILL");
    await attached.ended;
    expect(await status("ticker")).toBe("running");
  });
});

describe("what happened", () => {
  test("is told by events, and by filters of them", async () => {
    const since = new Date().toISOString();
    await detached("seen", ["sh", "-c", "exit 9"]);
    await fine("wait", "seen");
    await fine("rm", "seen");
    const text = await fine(
      "events",
      "--since",
      since,
      "--until",
      "0s",
      "--filter",
      "container=seen",
      "--format",
      "{{.Action}}",
    );
    expect(text.split("\n")).toEqual(["create", "start", "die", "destroy"]);
    const dead = await fine("events", "--since", since, "--until", "0s", "--filter", "event=die", "--json");
    expect(JSON.parse(dead)).toMatchObject({ action: "die", attributes: { name: "seen", exitCode: "9" } });
  });

  test("is told by a health check", async () => {
    await detached(
      "sick",
      TICKER,
      "--health-cmd",
      "exit 1",
      "--health-interval",
      "300ms",
      "--health-retries",
      "2",
    );
    await until("that it is unhealthy", async () =>
      (await fine("ps", "--format", "{{.Status}}")).includes("(unhealthy)"),
    );
    expect(await fine("ps", "-q", "--filter", "health=unhealthy")).not.toBe("");
  });
});
