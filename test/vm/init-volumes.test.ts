/** `init` and `volumes` of `container.create`, on a real machine. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import type { AnonymousVolume } from "../../src/agent/client.ts";
import { createContainer, signalContainer } from "../../src/agent/client.ts";
import { BASE_SERIAL, SCRATCH_SERIAL } from "../../src/machine/qemu/arguments.ts";
import type { AgentMachine } from "../support/agent-machine.ts";
import { startAgentMachine } from "../support/agent-machine.ts";
import { isLong } from "../support/long.ts";

let machine: AgentMachine;

beforeAll(async () => {
  machine = await startAgentMachine(`${inject("registry")}/flamebox/busybox:1`);
});
afterAll(async () => {
  await machine[Symbol.asyncDispose]();
});

const TERM = 15;

describe("an init", () => {
  test.each([
    ["the exit code", "exit 7", { exitCode: 7 }],
    ["success", "true", { exitCode: 0 }],
    ["a signal, as a shell tells it", "kill -9 $$", { exitCode: 137 }],
  ])("ends as its child does: %s", async (_name, script, how) => {
    expect((await machine.run({ script, init: true })).end).toMatchObject(how);
  });

  test("is process 1, and the process a child of it that leads its own group", async () => {
    const script = "echo $$ $(cut -d' ' -f4,5,6 /proc/$$/stat) $(cut -d' ' -f2 /proc/1/stat)";
    const { end, stdout } = await machine.run({ script, init: true });
    expect(end).toMatchObject({ exitCode: 0 });
    const [pid = "", parent, group] = stdout.trim().split(" ");
    expect(Number(pid)).toBeGreaterThan(1);
    expect([parent, group]).toEqual(["1", pid]);
  });

  test("reaps orphans", async () => {
    const script = `
      for i in 1 2 3 4 5; do (sleep 0.1 &) ; done
      sleep 1
      grep -l '^State:.Z' /proc/[0-9]*/status | wc -l
      set -- /proc/[0-9]*
      echo $#`;
    expect(await machine.run({ script, init: true })).toMatchObject({
      end: { exitCode: 0 },
      stdout: "0\n2\n",
    });
  });

  test("passes signals on", async () => {
    const script = "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    const container = await machine.start({ script, init: true });
    await container.shows("ready");
    await signalContainer(machine.session, container.id, TERM);
    expect(await container.exit).toMatchObject({ exitCode: 3 });
    await machine.remove(container);
  });

  test("ends a child that handles no signals, which process 1 itself would not be", async () => {
    const container = await machine.start({ args: ["sleep", "1000"], init: true });
    await signalContainer(machine.session, container.id, TERM);
    expect(await container.exit).toMatchObject({ exitCode: 128 + TERM });
    await machine.remove(container);
  });

  test.each([
    ["command-not-found", ["no-such-command"]],
    ["command-not-executable", ["/etc/not-executable"]],
  ])("still tells %s", async (code, args) => {
    const container = await machine.create({ args, init: true });
    await expect(container.start()).rejects.toMatchObject({ code });
    await machine.remove(container);
  });

  test("leaves the streams to its child: their ends are told when that closes them", async () => {
    const container = await machine.start({ script: "exec >&- 2>&-; sleep 1000", init: true });
    expect((await container.stdout).length).toBe(0);
    await signalContainer(machine.session, container.id, 9);
    expect(await container.exit).toMatchObject({ signal: 9 });
    await machine.remove(container);
  });

  test("leaves the terminal to its child", async () => {
    const script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    const container = await machine.start({ script, init: true, terminal: true, stdin: true });
    await container.shows("ready");
    container.created.stdin?.write("\x03");
    expect(await container.exit).toMatchObject({ exitCode: 5 });
    expect((await container.stdout).toString()).toContain("caught");
    await machine.remove(container);
  });

  test("runs as the container's user, without anything more", async () => {
    const script = "grep -E '^(Uid|CapEff|Seccomp):' /proc/1/status | tr '\\n\\t' '  '";
    const { stdout } = await machine.run({ script, init: true, user: "www-data" });
    expect(stdout).toMatch(/^Uid: +33 33 33 33 +CapEff: 0{16} +Seccomp: \d/);
  });
});

const volume = (path: string, change: Partial<AnonymousVolume> = {}): AnonymousVolume => ({
  path,
  readonly: false,
  seed: true,
  ...change,
});

describe("a volume", () => {
  test("is seeded with what the image has there: owners, modes, links", async () => {
    const script = `
      cat /etc/passwd | head -1
      stat -c '%a %u %g' /etc /etc/passwd /etc/not-executable
      readlink /bin/sh
      stat -c '%a %u' /root
      grep -c ' /etc ext4 ' /proc/mounts`;
    const plain = await machine.run({ script });
    const { end, stdout } = await machine.run({
      script,
      volumes: ["/etc", "/bin", "/root"].map((path) => volume(path)),
    });
    expect(end).toMatchObject({ exitCode: 0 });
    expect(stdout).toBe(plain.stdout.replace(/0\n$/, "1\n"));
    expect(plain.end).toMatchObject({ exitCode: 1 });
  });

  test("is empty without a seed", async () => {
    const { stdout } = await machine.run({
      script: "ls /etc | wc -l",
      volumes: [volume("/etc", { seed: false })],
    });
    expect(stdout).toBe("0\n");
  });

  test("is made where the image has nothing, through links, and inside another", async () => {
    const script = "echo a >/new/dir/deep/in/f && find /new -type f && grep -c ext4 /proc/mounts";
    const volumes = [volume("/new/dir/deep/in"), volume("/new/dir")];
    expect(await machine.run({ script, volumes })).toMatchObject({
      end: { exitCode: 0 },
      stdout: "/new/dir/deep/in/f\n2\n",
    });
  });

  test("can be read only", async () => {
    const script = "head -c4 /etc/passwd; echo; touch /etc/x || grep -c ' /etc ext4 ro,' /proc/mounts";
    const { stdout, stderr } = await machine.run({ script, volumes: [volume("/etc", { readonly: true })] });
    expect(stdout).toBe("root\n1\n");
    expect(stderr).toContain("Read-only");
  });

  test("is another in the next container", async () => {
    const volumes = [volume("/data")];
    await machine.run({ script: "echo mine >/data/file", volumes });
    expect((await machine.run({ script: "ls /data", volumes })).stdout).toBe("");
  });

  test("is there for an exec as well", async () => {
    const container = await machine.start({
      script: "echo one >/data/f; sleep 1000",
      volumes: [volume("/data")],
    });
    const { stdout } = await container.exec({
      script: "while ! cat /data/f 2>/dev/null; do sleep 0.1; done",
    });
    expect(stdout).toBe("one\n");
    await machine.remove(container);
  });

  test.each([
    ["the root", "/", "invalid-config"],
    ["the root, by another name", "/etc/..", "invalid-config"],
    ["a file", "/etc/passwd", "invalid-config"],
    ["a relative path", "data", "invalid-request"],
  ])("cannot be %s", async (_name, path, code) => {
    await expect(machine.create({ volumes: [volume(path)] })).rejects.toMatchObject({ code });
  });

  test("cannot be one of 65", async () => {
    const volumes = Array.from({ length: 65 }, (_, index) => volume(`/v${index}`));
    await expect(machine.create({ volumes })).rejects.toMatchObject({ code: "invalid-request" });
  });
});

// The image has device nodes, which only root can put into one.
test.runIf(isLong && process.getuid?.() === 0)(
  "a volume of the image with everything in it is the same, entry by entry (the long run, as root)",
  async () => {
    await using edge = await startAgentMachine(`${inject("registry")}/flamebox/edge:1`, { memoryMib: 512 });
    const walker = readFileSync(new URL("walk.py", import.meta.url));
    const walk = async (volumes: readonly AnonymousVolume[]): Promise<string[]> => {
      const container = await edge.create({ args: ["python3", "-", "/edge"], stdin: true, volumes });
      container.created.stdin?.end(walker);
      const { end, stdout, stderr } = await (await container.start()).output();
      expect(end, stderr).toMatchObject({ exitCode: 0 });
      await edge.remove(container);
      return stdout.trim().split("\n");
    };
    const image = await walk([]);
    const seeded = await walk([volume("/edge")]);
    expect(image.length).toBeGreaterThan(400);
    expect(seeded).toEqual(image);
  },
);

test("a create with the agent's own words", async () => {
  const request = {
    id: "w",
    baseDevice: BASE_SERIAL,
    scratchDevice: SCRATCH_SERIAL,
    files: [],
    user: "",
    groups: [],
  };
  const created = createContainer(machine.session, { ...request, config: {}, stdin: false, terminal: false });
  await expect(created).rejects.toMatchObject({ code: "invalid-config" });
});
