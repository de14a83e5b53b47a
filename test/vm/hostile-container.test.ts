/**
 * Containers that mean harm, on a real machine. However a row misbehaves, the host is told a truthful end of it
 * within a deadline, and the agent answers as before.
 */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { ping, signalContainer } from "../../src/agent/client.ts";
import type { AgentMachine, Container, ContainerChange } from "../support/agent-machine.ts";
import { startAgentMachine } from "../support/agent-machine.ts";
import {
  expectAlive,
  KILL,
  killed,
  limited,
  MAX_AGENT_BYTES,
  MIB,
  privileged,
  PROMPT_MS,
  shows,
  within,
} from "../support/hostile-container.ts";
import type { Config } from "../support/hostile-container.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const debian = `${inject("registry")}/flamebox/debian:12`;
const BOMB = "bomb() { bomb | bomb & }; bomb";
const EAT = "a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done";

interface Row extends ContainerChange {
  readonly name: string;
  readonly end: object;
  readonly stdout?: string;
}

const tight = limited({ memory: { limit: 48 * MIB }, pids: { limit: 128 } });

/** Containers that come to their end by themselves. */
const rows: readonly Row[] = [
  {
    name: "takes more memory than it may",
    script: EAT,
    config: tight,
    end: { signal: KILL, oomKilled: true },
  },
  {
    name: "has a child that takes more memory than it may",
    script: `sh -c '${EAT}'; exit 3`,
    config: tight,
    end: { exitCode: 3, oomKilled: true },
  },
  { name: "takes all memory there is, without a limit", script: EAT, end: { signal: KILL, oomKilled: true } },
  {
    name: "takes all memory there is, in many processes",
    script: `for i in 1 2 3 4 5 6 7 8; do sh -c '${EAT}' & done; wait; exit 4`,
    end: { exitCode: 4, oomKilled: true },
  },
  {
    name: "fills its memory with files",
    script:
      "dd if=/dev/zero of=/dev/shm/a bs=1M 2>/dev/null; dd if=/dev/zero of=/dev/b bs=1M 2>/dev/null; exit 5",
    config: tight,
    end: { exitCode: 5, oomKilled: true },
  },
  {
    name: "kills all that it can see",
    script: "sleep 1000 & kill -9 -1; exit 6",
    end: { exitCode: 6, oomKilled: false },
  },
  {
    name: "closes its streams and goes on",
    script: "exec <&- >&- 2>&-; sleep 1; exit 7",
    end: { exitCode: 7 },
  },
  {
    name: "leaves its streams to others",
    script: "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; exit 8",
    end: { exitCode: 8 },
  },
  {
    name: "tries what it must not",
    script: `
      try() { "$@" >/dev/null 2>&1 && echo "could: $*"; }
      write() { { echo "$1" >"$2"; } 2>/dev/null && echo "could write $2"; }
      write b /proc/sysrq-trigger
      write 1 /proc/sys/kernel/panic
      write -1000 /proc/self/oom_score_adj
      write max /sys/fs/cgroup/memory.max
      try reboot -f
      try umount /proc
      try mount -t tmpfs none /mnt
      try hostname evil
      try insmod /etc/passwd
      try renice -n -20 -p $$
      try dmesg -n 8
      date -s 2001-01-01 >/dev/null 2>&1; [ "$(date +%Y)" = 2001 ] && echo "could set the clock"
      try unshare -m true
      [ "$(head -c 1 /proc/kcore | wc -c)" = 0 ] || echo could read kcore
      mknod /tmp/mem c 1 1 && try head -c 1 /tmp/mem
      for port in /sys/class/virtio-ports/*/dev; do
        IFS=: read major minor <$port
        mknod /tmp/port c $major $minor && try dd if=/tmp/port count=1 && echo "could open a port"
      done
      [ "$(stat -c %i /proc/1/root/)" = "$(stat -c %i /)" ] || echo "another root"
      [ -e /proc/1/root/run/flamebox ] && echo "the machine's root"
      exit 9`,
    end: { exitCode: 9 },
    stdout: "",
  },
];

/** The same, with all that `--privileged` gives. What the machine's own kernel then does is its business. */
const privilegedRows: readonly Row[] = [
  {
    name: "takes all memory there is",
    script: EAT,
    config: privileged(),
    end: { signal: KILL, oomKilled: true },
  },
  { name: "restarts", script: "reboot -f; sleep 1000", config: privileged(), end: { signal: 1 } },
  { name: "powers off", script: "poweroff -f; sleep 1000", config: privileged(), end: { signal: 2 } },
  {
    name: "unmounts everything",
    script: "umount -l /proc /sys /dev/pts /dev/shm /dev/mqueue /dev; umount -l /; exit 11",
    config: privileged(),
    end: { exitCode: 11 },
  },
  {
    name: "sees no process but its own, and has no way to others",
    script: `
      cd /proc; ls -d [0-9]* | wc -l
      for pid in $(seq 2 400); do kill -9 $pid 2>/dev/null; done
      ls /proc/1/root/run/flamebox 2>/dev/null
      exit 12`,
    config: privileged(),
    end: { exitCode: 12 },
  },
  {
    name: "opens the agent's port, loads modules, sets clock and name",
    script: `
      for port in /sys/class/virtio-ports/*/dev; do
        IFS=: read major minor <$port
        mknod /tmp/port c $major $minor
        dd if=/tmp/port count=1 2>/dev/null && echo "read from a port"
        { echo x >/tmp/port; } 2>/dev/null && echo "wrote to a port"
      done
      insmod /etc/passwd 2>/dev/null && echo "loaded a module"
      hostname evil
      date -s 2001-01-01 >/dev/null
      exit 13`,
    config: privileged(),
    end: { exitCode: 13 },
    stdout: "",
  },
];

describe.each([
  ["a container", rows],
  ["a privileged container", privilegedRows],
])("%s that", (_name, table) => {
  let machine: AgentMachine;

  beforeAll(async () => {
    machine = await startAgentMachine(busybox);
  });
  afterEach(async () => await expectAlive(machine));
  afterAll(async () => await machine[Symbol.asyncDispose]());

  test.each(table)("$name", async ({ end, stdout, ...change }) => {
    const container = await machine.start(change);
    const output = await within("the end", container.output(), 90_000);
    expect(output.end, output.stderr).toMatchObject(end);
    expect(stdout === undefined || output.stdout === stdout, output.stdout).toBe(true);
    await within("the delete", machine.remove(container), PROMPT_MS);
  });
});

describe("a container that must be ended", () => {
  let machine: AgentMachine;

  beforeAll(async () => {
    machine = await startAgentMachine(busybox);
  });
  afterEach(async () => await expectAlive(machine));
  afterAll(async () => await machine[Symbol.asyncDispose]());

  test.each([
    ["forks without end", `echo go; ${BOMB}; sleep 1000`, tight],
    ["forks without end, and without a limit", `echo go; ${BOMB}; sleep 1000`, limited({})],
    ["spins", "echo go; while :; do :; done", limited({})],
    [
      "ignores every signal",
      "trap '' HUP INT QUIT TERM USR1 USR2; echo go; while :; do sleep 1; done",
      limited({}),
    ],
    [
      "cannot be killed for want of memory, and wants more",
      `echo -1000 >/proc/self/oom_score_adj; echo go; ${EAT}`,
      privileged({ memory: { limit: 48 * MIB } }),
    ],
    [
      "takes the processor for itself",
      "renice -n -20 -p $$ >/dev/null; for i in 1 2 3 4 5 6 7; do while :; do :; done & done; echo go; wait",
      privileged(),
    ],
    [
      "freezes itself",
      `mkdir /sys/fs/cgroup/ice && echo 1 >/sys/fs/cgroup/ice/cgroup.procs && echo go
       echo 1 >/sys/fs/cgroup/ice/cgroup.freeze; sleep 1000`,
      privileged(),
    ],
    [
      "mounts over all that one would look at",
      "for d in /proc /sys /dev /etc; do mount -t tmpfs none $d; done; echo go; sleep 1000",
      privileged(),
    ],
  ])("%s", async (_name, script, config) => {
    const container = await machine.start({ script, config });
    await shows(container, "go\n");
    await sleep(2_000);
    await ping(machine.session, { deadlineMs: PROMPT_MS });
    expect(await killed(machine, container)).toMatchObject({ signal: KILL });
    await within("the delete", machine.remove(container), 60_000);
  });

  test("whose execs fork without end, while others come and go", async () => {
    const container = await machine.start({ args: ["sleep", "1000"], config: tight });
    const bomb = await container.begin("bomb", { script: `${BOMB}; sleep 1000` });
    for (let round = 0; round < 2; round++) {
      const storm = Array.from({ length: 32 }, async () => await container.exec({ args: ["true"] }));
      for (const { end } of await within("a storm", Promise.all(storm), 60_000))
        expect(end).toMatchObject({ exitCode: 0 });
    }
    expect(await killed(machine, container)).toMatchObject({ signal: KILL });
    expect(await bomb.wait()).toMatchObject({ signal: KILL });
    await machine.remove(container);
  });

  test("that writes, and nobody reads", async () => {
    const container = await machine.create({ args: ["cat", "/dev/zero"], unread: true });
    await container.start();
    await sleep(1_000);
    await ping(machine.session, { deadlineMs: PROMPT_MS });
    await signalContainer(machine.session, container.id, KILL);
    container.created.stdout.resume();
    expect(await within("the exit", container.exit, PROMPT_MS)).toMatchObject({ signal: KILL });
    await machine.remove(container);
  });
});

describe("an exec into a container that", () => {
  let machine: AgentMachine;

  beforeAll(async () => {
    machine = await startAgentMachine(busybox);
  });
  afterEach(async () => await expectAlive(machine));
  afterAll(async () => await machine[Symbol.asyncDispose]());

  async function prepared(script: string, config: Config = (same) => same): Promise<Container> {
    const container = await machine.start({ script: `${script}; echo go; sleep 1000`, config });
    await shows(container, "go\n");
    return container;
  }

  test("has no /proc, /dev and /sys any more", async () => {
    const container = await prepared(
      "for d in /proc /dev /sys; do mount -t tmpfs none $d; done",
      privileged(),
    );
    expect(await container.exec({ script: "echo in", user: "www-data" })).toMatchObject({ stdout: "in\n" });
    const tty = container.exec({ script: "true", terminal: true });
    await expect(tty).rejects.toMatchObject({
      code: "failed",
      message: expect.stringContaining("/dev/pts") as string,
    });
    await machine.remove(container);
  });

  test("has put traps where its users are looked up", async () => {
    const container = await prepared(
      "rm /etc/passwd /etc/group; mkfifo /etc/passwd; ln -s /proc/1/environ /etc/group",
    );
    expect(
      (
        await within(
          "the exec",
          container.exec({ user: "7:8", script: "grep -E '^(Uid|Gid)' /proc/self/status | cut -f2" }),
          PROMPT_MS,
        )
      ).stdout,
    ).toBe("7\n8\n");
    const named = within("the exec", container.exec({ user: "www-data" }), PROMPT_MS);
    await expect(named).rejects.toMatchObject({ code: "user-not-found" });
    await machine.remove(container);
  });

  test("has a passwd file without end", async () => {
    const container = await prepared("dd if=/dev/zero of=/etc/passwd bs=1M count=3 2>/dev/null");
    await expect(container.exec({ user: "7" })).rejects.toMatchObject({ code: "failed" });
    await machine.remove(container);
  });

  test("has made its cgroup one that holds no processes", async () => {
    const container = await prepared(
      `mkdir /sys/fs/cgroup/all && for p in $(cat /sys/fs/cgroup/cgroup.procs); do echo $p >/sys/fs/cgroup/all/cgroup.procs; done
       echo +memory +pids >/sys/fs/cgroup/cgroup.subtree_control`,
      privileged(),
    );
    expect((await container.exec({ script: "cat /proc/self/cgroup" })).stdout).toBe("0::/all\n");
    await machine.remove(container);
  });

  test("would lead it out through a descriptor", async () => {
    const container = await prepared("true");
    for (let fd = 0; fd < 16; fd++) {
      const escape = container.exec({
        script: "cat run/flamebox/* 2>/dev/null; pwd",
        process: { cwd: `/proc/self/fd/${fd}` },
      });
      await expect(escape).rejects.toMatchObject({ code: "invalid-config" });
    }
    await machine.remove(container);
  });

  test("is ending", async () => {
    for (let round = 0; round < 2; round++) {
      const container = await machine.start({ script: "sleep 0.2" });
      const tries = Array.from({ length: 30 }, async (_, index) => {
        await sleep(10 * index);
        return await container.exec({ args: ["sleep", "1000"] }).then(
          ({ end }) => end,
          (error: unknown) => error,
        );
      });
      for (const outcome of await within("the execs", Promise.all(tries), 60_000))
        expect(
          [{ signal: KILL }, { code: "conflict" }, { code: "failed" }].some((end) => matches(outcome, end)),
          JSON.stringify(outcome),
        ).toBe(true);
      await within("the exit", container.exit, PROMPT_MS);
      await machine.remove(container);
    }
  });
});

function matches(value: unknown, wanted: object): boolean {
  return Object.entries(wanted).every(([key, want]) => (value as Record<string, unknown>)[key] === want);
}

test("a privileged container that takes the processor in real time is ended all the same", async () => {
  await using machine = await startAgentMachine(debian, { memoryMib: 512 });
  const script = "chrt -f 99 true && echo go; exec chrt -f 99 sh -c 'while :; do :; done'";
  const container = await machine.start({ script, config: privileged() });
  await shows(container, "go\n");
  await sleep(2_000);
  await ping(machine.session, { deadlineMs: PROMPT_MS });
  expect(await killed(machine, container)).toMatchObject({ signal: KILL });
  await machine.remove(container);
  await expectAlive(machine);
});

/** A gigabyte with `npm run test:long`. */
const STREAM_BYTES = process.env["FLAMEBOX_TEST_RUNS"] === undefined ? 128 * MIB : 1024 * MIB;

test("whatever goes through the agent, both ways, it stays as small as it was", {
  timeout: 900_000,
}, async () => {
  await using machine = await startAgentMachine(busybox);
  const before = await ping(machine.session);
  const container = await machine.create({ args: ["cat"], stdin: true, unread: true });
  const { stdin, stdout } = container.created;
  let bytes = 0;
  let largest = 0;
  stdout.on("data", (chunk: Buffer) => (bytes += chunk.length));
  await container.start();
  const chunk = Buffer.alloc(MIB, 0x2e);
  for (let sent = 0; sent < STREAM_BYTES; sent += chunk.length) {
    if (stdin?.write(chunk) === false) await once(stdin, "drain");
    if (sent % (8 * MIB) === 0) largest = Math.max(largest, (await ping(machine.session)).rssBytes);
  }
  stdin?.end();
  expect(await container.exit).toMatchObject({ exitCode: 0 });
  expect(bytes).toBe(STREAM_BYTES);
  largest = Math.max(largest, (await ping(machine.session)).rssBytes);
  console.log(`the agent: ${before.rssBytes >> 10} KiB at first, ${largest >> 10} KiB at most`);
  expect(largest).toBeLessThan(MAX_AGENT_BYTES);
  expect(largest - before.rssBytes).toBeLessThan(8 * MIB);
});

test("a container that fills its disk is told so, and can still be entered and ended", async () => {
  await using machine = await startAgentMachine(busybox, { storageBytes: 64 * MIB });
  const script = "dd if=/dev/zero of=/file bs=1M 2>&1 | grep -c 'No space left'; echo go; sleep 1000";
  const container = await machine.start({ script });
  await shows(container, "1\ngo\n");
  expect(await container.exec({ script: "echo x >/other || echo full", user: "www-data" })).toMatchObject({
    stdout: "full\n",
  });
  expect((await container.exec({ script: "rm /file && echo x >/other && echo room" })).stdout).toBe("room\n");
  expect(await killed(machine, container)).toMatchObject({ signal: KILL });
  await machine.remove(container);
  await expectAlive(machine);
});

test.each([
  ["takes the agent's port away", "cd /sys/bus/virtio/drivers/virtio_console; echo virtio[0-9]* >unbind"],
  ["crashes the kernel", "echo c >/proc/sysrq-trigger"],
  ["resets the machine", "echo b >/proc/sysrq-trigger"],
])("a privileged container that %s takes its machine along, and the host is told", async (_name, script) => {
  await using machine = await startAgentMachine(busybox);
  const container = await machine.create({ script: `${script}; sleep 1000`, config: privileged() });
  const started = container.start().catch((error: unknown) => error);
  await expect(within("the exit", container.exit, 60_000)).rejects.toMatchObject({ code: "agent-lost" });
  await started;
});
