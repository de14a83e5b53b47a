/** `container.exec` and its kin, on a real machine: what a further process in a running container is and finds. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { ping, resizeContainer, signalContainer } from "../../src/agent/client.ts";
import { containerStats } from "../../src/agent/usage.ts";
import type { AgentMachine, Container } from "../support/agent-machine.ts";
import { collect, startAgentMachine } from "../support/agent-machine.ts";

let machine: AgentMachine;
let container: Container;

beforeAll(async () => {
  machine = await startAgentMachine(`${inject("registry")}/flamebox/busybox:1`);
  container = await machine.start({
    script: "mkdir -p /run/here; echo from-init >/run/here/file; exec sleep 1000",
    config: (config) => ({
      ...config,
      linux: { ...config.linux, resources: { pids: { limit: 200 }, memory: { limit: 96 << 20 } } },
    }),
  });
  // What is executed may well be quicker than the container's own shell.
  await container.exec({ script: 'until [ "$(cat /proc/1/comm)" = sleep ]; do sleep 0.05; done' });
});
afterAll(async () => {
  await machine[Symbol.asyncDispose]();
});

describe("what it finds", () => {
  test.each([
    ["the container's processes", "cat /proc/1/comm", "sleep"],
    ["the container's files", "cat /run/here/file", "from-init"],
    ["the container's host name", "hostname", "box"],
    ["its own root and directory", "pwd", "/"],
    ["the container's cgroup as the root", "cat /proc/self/cgroup", "0::/"],
    ["the container's capabilities", "grep CapEff /proc/self/status | cut -f2", "00000000a80425fb"],
    ["and as its bound", "grep CapBnd /proc/self/status | cut -f2", "00000000a80425fb"],
    ["no agent's oom_score_adj", "cat /proc/self/oom_score_adj", "0"],
    ["no niceness of the agent's", "cut -d' ' -f19 /proc/self/stat", "0"],
    ["no descriptor but its streams", "ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 "],
    ["no way to a terminal", "tty; true", "not a tty"],
    ["HOME from passwd", "echo $HOME", "/root"],
    [
      "signals as a program expects them",
      "grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2 | sort -u",
      "0000000000000000",
    ],
    ["the container's limits", "ulimit -n", "1048576"],
    ["a parent that is not there", "cut -d' ' -f4 /proc/$$/stat", "0"],
  ])("%s", async (_name, script, expected) => {
    const { end, stdout, stderr } = await container.exec({ script });
    expect(end, stderr).toMatchObject({ exitCode: 0, oomKilled: false });
    expect(stdout.replace(/\n$/, "")).toBe(expected);
  });

  test("the same namespaces as process 1", async () => {
    const script =
      "for n in mnt pid ipc uts net cgroup user; do readlink /proc/1/ns/$n; readlink /proc/$$/ns/$n; done";
    const { stdout } = await container.exec({ script });
    const lines = stdout.trim().split("\n");
    expect(lines).toHaveLength(14);
    for (let index = 0; index < lines.length; index += 2) expect(lines[index]).toBe(lines[index + 1]);
  });
});

describe("what can be asked for", () => {
  test.each([
    ["a user by name", { user: "www-data" }, "id -u; id -g; id -G; echo $HOME", "33\n33\n33 29\n/var/www\n"],
    ["a user by numbers", { user: "7:8" }, "id -u; id -g; id -G; echo $HOME", "7\n8\n8\n/\n"],
    [
      "no capabilities for another user",
      { user: "7" },
      "grep -E 'Cap(Eff|Prm)' /proc/self/status | cut -f2",
      "0000000000000000\n0000000000000000\n",
    ],
    [
      "an environment of its own",
      { process: { env: ["PATH=/bin", "A=b c", "HOME=/x"] } },
      "echo $A $HOME",
      "b c /x\n",
    ],
    ["a directory", { process: { cwd: "/home/www" } }, "pwd", "/home/www\n"],
    [
      "limits",
      { process: { rlimits: [{ type: "RLIMIT_NOFILE", soft: 99, hard: 100 }] } },
      "ulimit -n; ulimit -Hn",
      "99\n100\n",
    ],
    [
      "no new privileges",
      { process: { noNewPrivileges: true } },
      "grep NoNewPrivs /proc/self/status | cut -f2",
      "1\n",
    ],
    [
      "other capabilities",
      {
        process: {
          capabilities: { effective: ["CAP_KILL"], permitted: ["CAP_KILL"], bounding: ["CAP_KILL"] },
        },
      },
      "grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2",
      "0000000000000020\n0000000000000020\n0000000000000020\n0000000000000000\n",
    ],
    [
      "the container's capabilities, when it does not say",
      { process: { capabilities: undefined } },
      "grep CapEff /proc/self/status | cut -f2",
      "00000000a80425fb\n",
    ],
    [
      "a score for the kernel's killer",
      { process: { oomScoreAdj: 321 } },
      "cat /proc/self/oom_score_adj",
      "321\n",
    ],
    ["a umask", { process: { user: { uid: 0, gid: 0, umask: 0o77 } } }, "umask", "0077\n"],
  ])("%s", async (_name, change, script, expected) => {
    const { end, stdout, stderr } = await container.exec({ script, ...change });
    expect(end, stderr).toMatchObject({ exitCode: 0 });
    expect(stdout).toBe(expected);
  });

  test.each([
    ["its exit code", "exit 7", { exitCode: 7 }],
    ["255", "exit 255", { exitCode: 255 }],
    ["a signal", "kill -9 $$", { signal: 9 }],
    ["a real-time signal", "kill -40 $$", { signal: 40 }],
  ])("%s is told", async (_name, script, how) => {
    expect((await container.exec({ script })).end).toMatchObject(how);
  });

  test("stdin, and its end; stdout and stderr apart; bytes as they are", async () => {
    const input = randomBytes(3 << 20);
    const { streams, wait } = await container.begin("cat", { script: "echo err >&2; cat", stdin: true });
    streams.stdin?.end(input);
    const [out, err] = await Promise.all([collect(streams.stdout), collect(streams.stderr)]);
    expect(err.toString()).toBe("err\n");
    expect(out.equals(input)).toBe(true);
    expect(await wait()).toMatchObject({ exitCode: 0, exec: "cat" });
  });

  test("a terminal of its own size, which changes", async () => {
    const process = { consoleSize: { width: 91, height: 17 } };
    const script = "tty; stty size; trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.1; done";
    const { streams, wait } = await container.begin("tty", { script, terminal: true, process });
    let text = "";
    streams.stdout.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
    while (!text.includes("ready\r\n")) await sleep(20);
    expect(text).toMatch(/^\/dev\/pts\/\d+\r\n17 91\r\nready\r\n$/);
    await resizeContainer(machine.session, container.id, { columns: 132, rows: 50 }, "tty");
    expect(await wait()).toMatchObject({ exitCode: 4 });
    expect(text).toContain("50 132");
    expect(streams.stderr).toBeUndefined();
  });

  test("Ctrl-C on its terminal", async () => {
    const script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    const { streams, wait } = await container.begin("ctrl-c", { script, terminal: true, stdin: true });
    let text = "";
    streams.stdout.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
    while (!text.includes("ready\r\n")) await sleep(20);
    streams.stdin?.write("\x03");
    expect(await wait()).toMatchObject({ exitCode: 5 });
    expect(text).toContain("caught");
  });

  test("signals", async () => {
    const { streams, wait } = await container.begin("sig", {
      script: "trap 'exit 6' USR1; echo ready; while :; do sleep 0.1; done",
    });
    await new Promise((resolve) => streams.stdout.once("data", resolve));
    await signalContainer(machine.session, container.id, 10, "sig");
    expect(await wait()).toMatchObject({ exitCode: 6 });
    await expect(signalContainer(machine.session, container.id, 10, "sig")).rejects.toMatchObject({
      code: "not-found",
    });
  });
});

describe("what is refused", () => {
  test.each([
    ["a command that is not there", { args: ["no-such-command"] }, "command-not-found", "no-such-command"],
    ["a path that is not there", { args: ["/no/such"] }, "command-not-found", "/no/such"],
    [
      "a file that is no program",
      { args: ["/etc/not-executable"] },
      "command-not-executable",
      "permission denied",
    ],
    ["an unknown user", { user: "nobody-knows" }, "user-not-found", "nobody-knows"],
    ["a directory that is not there", { process: { cwd: "/no/dir" } }, "invalid-config", "/no/dir"],
    ["a relative directory", { process: { cwd: "tmp" } }, "invalid-config", "process.cwd"],
    ["no arguments", { args: [] }, "invalid-config", "process.args"],
    ["an unknown member", { process: { colour: "red" } }, "invalid-config", "process.colour"],
    [
      "an unknown capability",
      { process: { capabilities: { bounding: ["CAP_FLY"] } } },
      "invalid-config",
      "CAP_FLY",
    ],
    [
      "a member for another time",
      { process: { selinuxLabel: "x" } },
      "invalid-config",
      "process.selinuxLabel",
    ],
    ["a stderr with a terminal", { process: { terminal: true } }, "invalid-request", "stderr"],
  ])("%s", async (_name, change, code, named) => {
    await expect(container.exec(change)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(named) as string,
    });
  });

  test("a container that there is not, or that does not run", async () => {
    const created = await machine.create();
    await expect(created.exec({})).rejects.toMatchObject({ code: "conflict" });
    await created.start();
    await created.exit;
    await expect(created.exec({})).rejects.toMatchObject({ code: "conflict" });
    await machine.remove(created);
    await expect(created.exec({})).rejects.toMatchObject({ code: "not-found" });
  });

  test("a name that is taken, and a 65th", async () => {
    const begun = await Promise.all(
      Array.from(
        { length: 64 },
        async (_, index) => await container.begin(`many-${index}`, { args: ["sleep", "1000"] }),
      ),
    );
    await expect(container.begin("many-0", {})).rejects.toMatchObject({ code: "conflict" });
    await expect(container.begin("many-64", {})).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining("64") as string,
    });
    expect((await containerStats(machine.session, container.id)).pids).toBeGreaterThan(64);
    for (let index = 0; index < 64; index++)
      await signalContainer(machine.session, container.id, 9, `many-${index}`);
    for (const { wait } of begun) expect(await wait()).toMatchObject({ signal: 9 });
    expect((await container.exec({ script: "echo again" })).stdout).toBe("again\n");
  });
});

test("the numbers of its cgroup", async () => {
  const before = await containerStats(machine.session, container.id);
  await container.exec({ script: "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done" });
  const after = await containerStats(machine.session, container.id);
  expect(after.cpuMicroseconds).toBeGreaterThan(before.cpuMicroseconds + 1_000);
  expect(after.memoryPeakBytes).toBeGreaterThanOrEqual(after.memoryBytes);
  expect(after.memoryBytes).toBeGreaterThan(4096);
  expect(after).toMatchObject({ pids: 1, oomKills: 0 });
  await expect(containerStats(machine.session, "nobody")).rejects.toMatchObject({ code: "not-found" });
});

test("want of memory is told, of an exec and of its container", async () => {
  const greedy = "a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done";
  const other = await machine.start({
    script: "sleep 1000 & wait",
    config: (config) => ({
      ...config,
      linux: { ...config.linux, resources: { memory: { limit: 24 << 20 } } },
    }),
  });
  expect((await other.exec({ script: greedy })).end).toMatchObject({ signal: 9, oomKilled: true });
  expect((await other.exec({})).end).toMatchObject({ exitCode: 0, oomKilled: false });
  await signalContainer(machine.session, other.id, 15);
  await signalContainer(machine.session, other.id, 9).catch(() => {});
  expect(await other.exit).toMatchObject({ oomKilled: true });
  await machine.remove(other);
});

test("an exec does not outlive its container, and ends before it", async () => {
  const other = await machine.start({ script: "read line", stdin: true });
  const order: string[] = [];
  const begun = await Promise.all(
    ["a", "b", "c"].map(
      async (name) => await other.begin(name, { script: "trap '' TERM HUP; sleep 1000 & wait" }),
    ),
  );
  const ended = begun.map(async ({ wait }) => {
    const end = await wait();
    order.push(end.exec);
    return end;
  });
  const exit = other.exit.then((end) => {
    order.push("container");
    return end;
  });
  other.created.stdin?.end("\n");
  expect(await exit).toMatchObject({ exitCode: 0 });
  for (const end of await Promise.all(ended)) expect(end).toMatchObject({ signal: 9 });
  expect(order.at(-1)).toBe("container");
  expect(order).toHaveLength(4);
  await machine.remove(other);
});

test("one that is aborted is ended", async () => {
  const { pids } = await containerStats(machine.session, container.id);
  const { wait } = await container.begin("left", { args: ["sleep", "1000"] });
  await signalContainer(machine.session, container.id, 9, "left");
  expect(await wait()).toMatchObject({ signal: 9 });
  expect((await containerStats(machine.session, container.id)).pids).toBe(pids);
});

test("ping is answered", async () => {
  const { rssBytes } = await ping(machine.session);
  expect(rssBytes).toBeGreaterThan(100_000);
  expect(rssBytes).toBeLessThan(64 << 20);
});
