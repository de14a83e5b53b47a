/**
 * What a container has changed, as a list and as a layer; what runs in it and what it may use; and that its disk is at
 * rest when it is deleted, and can be used again; on a real machine.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from "vitest";
import { prepareContainer } from "../../src/agent/client.ts";
import { statFile } from "../../src/agent/files.ts";
import { containerChanges, containerLayer } from "../../src/agent/layer.ts";
import { containerProcesses, containerStats, updateContainer } from "../../src/agent/usage.ts";
import { BASE_SERIAL, SCRATCH_SERIAL } from "../../src/machine/qemu/arguments.ts";
import { generate } from "../../src/runtime-spec/generate.ts";
import { runCommand } from "../../src/util/command.ts";
import { collect as collectEntries, contentOf } from "../support/tar-entries.ts";
import type { AgentMachine, Container, ContainerChange } from "../support/agent-machine.ts";
import { startAgentMachine } from "../support/agent-machine.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;

const CHANGES = `echo x >/new
mkdir -p /newdir/sub; echo y >/newdir/sub/f; ln /newdir/sub/f /newdir/hard
echo more >>/etc/passwd; rm /etc/not-executable
chmod 700 /var/www
rm -r /home; mkdir /home
rm -r /usr/sbin; mkdir /usr/sbin; echo in >/usr/sbin/again
rm /bin/vi; mkdir /bin/vi
echo t >/tmp/t; rm /tmp/t
echo s >/dev/shm/s; echo v >/data/vol/v
mv /usr/bin /usr/bin2
mkfifo /newdir/sub/fifo; mknod /newdir/sub/zero c 1 5; ln -s /new /newdir/sub/link
echo done; exec sleep 100000`;
const LIST = [
  "C /bin",
  "C /bin/vi",
  "C /etc",
  "D /etc/not-executable",
  "C /etc/passwd",
  "C /home",
  "D /home/www",
  "A /new",
  "A /newdir",
  "A /newdir/hard",
  "A /newdir/sub",
  "A /newdir/sub/f",
  "A /newdir/sub/fifo",
  "A /newdir/sub/link",
  "A /newdir/sub/zero",
  "C /tmp",
  "C /usr",
  "D /usr/bin",
  "A /usr/bin2",
  "C /usr/sbin",
  "A /usr/sbin/again",
  "C /var",
  "C /var/www",
];
const LAYER = [
  "bin/",
  "bin/vi/",
  "etc/",
  "etc/.wh.not-executable",
  "etc/passwd",
  "home/",
  "home/.wh..wh..opq",
  "new",
  "newdir/",
  "newdir/hard",
  "newdir/sub/",
  "newdir/sub/f",
  "newdir/sub/fifo",
  "newdir/sub/link",
  "newdir/sub/zero",
  "tmp/",
  "usr/",
  "usr/.wh.bin",
  "usr/bin2/",
  "usr/sbin/",
  "usr/sbin/.wh..wh..opq",
  "usr/sbin/again",
  "var/",
  "var/www/",
];
const placed: ContainerChange = {
  volumes: [{ path: "/data/vol", readonly: false, seed: false }],
  files: [
    { path: "/etc/hosts", mode: 0o644, text: "127.0.0.1 localhost\n" },
    { path: "/etc/resolv.conf", mode: 0o644, text: "" },
  ],
};
const request = {
  baseDevice: BASE_SERIAL,
  scratchDevice: SCRATCH_SERIAL,
  config: generate(
    {},
    {
      containerId: "0".repeat(12),
      hostname: "nobody",
      command: ["true"],
      share: { memoryLimitBytes: 400 * 2 ** 20, cpu: undefined },
      kernelRelease: "6.12.0",
    },
  ),
};

async function changesOf(machine: AgentMachine, container: Container): Promise<string[]> {
  const list: string[] = [];
  for await (const { kind, path } of containerChanges(machine.session, container.id))
    list.push(`${kind.charAt(0).toUpperCase()} ${path}`);
  return list;
}

/** The kernel has nothing left to be written, and the disk is as an unmounted one is. */
async function expectAtRest(path: string): Promise<void> {
  const checked = await runCommand("e2fsck", ["-fn", path], {});
  expect(checked.stdout.toString()).not.toMatch(/recover|WARNING|not cleanly/i);
  const { stdout } = await runCommand("dumpe2fs", ["-h", path], {});
  expect(stdout.toString()).toMatch(/Filesystem state:\s+clean/);
  expect(stdout.toString()).not.toContain("needs_recovery");
}

describe("in one machine", () => {
  let machine: AgentMachine;
  beforeAll(async () => {
    machine = await startAgentMachine(busybox);
  });
  afterAll(async () => {
    await machine[Symbol.asyncDispose]();
  });

  test("nothing has changed in a new container, and what changes is told as it is", async () => {
    const container = await machine.create({ ...placed, script: CHANGES });
    expect(await changesOf(machine, container)).toEqual([]);
    const empty = await buffer(await containerLayer(machine.session, container.id));
    expect(empty.equals(Buffer.alloc(1024))).toBe(true);
    await container.start();
    await container.shows("done");
    expect(await changesOf(machine, container)).toEqual(LIST);

    const layer = await buffer(await containerLayer(machine.session, container.id));
    const entries = collectEntries(layer);
    expect(entries.map(({ name }) => name)).toEqual(LAYER);
    expect(layer.includes("trusted.")).toBe(false);
    const find = (wanted: string) => entries.find(({ name }) => name === wanted);
    expect(find("newdir/sub/f")).toMatchObject({ linkName: "newdir/hard", entry: { type: "hardlink" } });
    expect(find("newdir/sub/zero")?.entry).toMatchObject({ devMajor: 1, devMinor: 5 });
    expect(find("var/www/")?.entry).toMatchObject({ mode: 0o700 });
    const passwd = find("etc/passwd");
    expect(passwd && contentOf(passwd).toString()).toMatch(/^root:x:0.*\nmore\n$/s);
    const again = await buffer(await containerLayer(machine.session, container.id));
    expect(again.equals(layer)).toBe(true);

    await machine.remove(container);
    await expect(containerLayer(machine.session, container.id)).rejects.toMatchObject({ code: "not-found" });
  });

  test("a container that has ended still has its changes, its numbers, and no processes", async () => {
    const container = await machine.start({ script: "echo x >/ended" });
    await container.exit;
    expect(await changesOf(machine, container)).toEqual(["A /ended"]);
    expect(await containerProcesses(machine.session, container.id)).toEqual([]);
    expect(await containerStats(machine.session, container.id)).toMatchObject({ pids: 0 });
    await machine.remove(container);
  });

  test("a user's own file where something could be mounted, and one that was made and removed", async () => {
    const container = await machine.start({
      script: "mkdir /a; : >/a/empty; rmdir /a 2>/dev/null; rm /etc/group; echo g >/etc/group; echo done",
    });
    await container.exit;
    expect(await changesOf(machine, container)).toEqual(["A /a", "A /a/empty", "C /etc", "C /etc/group"]);
    await machine.remove(container);
  });

  test("processes, in the container's numbers and the machine's", async () => {
    const container = await machine.start({
      script:
        "sleep 1001 & sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1002' & echo begun; wait",
      user: "www-data",
    });
    await container.shows("begun");
    await container.begin("joined", {
      args: ["sh", "-c", "sleep 1003; true", "long".repeat(2_000)],
      user: "7",
    });
    let list = await containerProcesses(machine.session, container.id);
    while (!list.some(({ args }) => args[1] === "1002"))
      list = await containerProcesses(machine.session, container.id);
    const [first] = list;
    expect(first).toMatchObject({
      pid: 1,
      parent: 0,
      uid: 33,
      user: "www-data",
      args: ["sh", "-c", expect.any(String)],
    });
    expect(list.find(({ args }) => args[1] === "1001")).toMatchObject({
      parent: 1,
      name: "sleep",
      state: "S",
    });
    const busy = list.find(({ args }) => args[1] === "1002");
    expect(busy?.cpuMicroseconds).toBeGreaterThan(1_000);
    expect(busy?.rssBytes).toBeGreaterThan(4_096);
    const joined = list.find(({ args }) => args[2] === "sleep 1003; true");
    expect(joined).toMatchObject({ uid: 7, parent: 0 });
    expect(joined).not.toHaveProperty("user");
    expect(joined?.args.join(" ").length).toBeLessThanOrEqual(4_096);
    expect(list.map(({ pid }) => pid)).toEqual(list.map(({ pid }) => pid).sort((a, b) => a - b));
    for (const { machinePid, pid, started } of list) {
      expect(machinePid).toBeGreaterThan(pid);
      expect(Math.abs(started.seconds - Date.now() / 1000)).toBeLessThan(120);
    }
    await machine.remove(container);
  });

  test("numbers of use, and limits that change while it runs", async () => {
    const container = await machine.start({
      script:
        "dd if=/dev/zero of=/written bs=1M count=8 2>/dev/null; sync; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; echo done; exec sleep 1000",
      config: (config) => ({
        ...config,
        linux: { ...config.linux, resources: { pids: { limit: 100 }, memory: { limit: 96 << 20 } } },
      }),
    });
    await container.shows("done");
    const before = await containerStats(machine.session, container.id);
    expect(before).toMatchObject({ memoryLimitBytes: 96 << 20, pidsLimit: 100 });
    expect(before.cpuUserMicroseconds).toBeGreaterThan(1_000);
    expect(before.cpuMicroseconds).toBeGreaterThanOrEqual(before.cpuUserMicroseconds ?? 0);
    expect(before.block?.writtenBytes).toBeGreaterThan(4 << 20);
    expect(before.network).toMatchObject({ receivedBytes: expect.any(Number) as number });

    const update = async (resources: object) =>
      await updateContainer(machine.session, container.id, resources);
    expect(
      await update({
        memory: { limit: 64 << 20 },
        cpu: { quota: 50_000, period: 100_000, shares: 512 },
        pids: { limit: 3 },
      }),
    ).toEqual({ warnings: [] });
    const after = await containerStats(machine.session, container.id);
    expect(after).toMatchObject({ memoryLimitBytes: 64 << 20, pidsLimit: 3 });
    const forked = await container.exec({ script: "for i in 1 2 3 4; do sleep 1 & done; wait" });
    expect(forked.stderr).toMatch(/fork/);
    await update({ pids: { limit: -1 } });
    expect(await containerStats(machine.session, container.id)).not.toHaveProperty("pidsLimit");
    await container.exec({ script: "head -c 20000000 /dev/zero >/dev/shm/held" });
    await expect(update({ memory: { limit: 8 << 20 } })).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining("holds") as string,
    });
    for (const [resources, named] of [
      [{ devices: [] }, "devices"],
      [{ memory: { limits: 5 } }, "memory.limits"],
      [{ memory: { kernel: 5 } }, "memory.kernel"],
      [{ cpu: { cpus: "77" } }, "cpu.cpus"],
    ] as const)
      await expect(update(resources)).rejects.toMatchObject({
        code: "invalid-config",
        message: expect.stringContaining(named) as string,
      });
    await expect(updateContainer(machine.session, "nobody", {})).rejects.toMatchObject({ code: "not-found" });
    await machine.remove(container);
  });
});

describe("a disk", () => {
  const kept = async (machine: AgentMachine): Promise<string> => {
    const dir = await mkdtemp(join(tmpdir(), "flamebox-disk-"));
    onTestFinished(async () => await rm(dir, { recursive: true, force: true }));
    const path = join(dir, "scratch.ext4");
    await runCommand("cp", ["--sparse=always", machine.scratchPath, path], {});
    return path;
  };
  const id = "kept";
  const volumes = [
    { path: "/var/www", readonly: false, seed: true },
    { path: "/etc", readonly: false, seed: true },
  ];
  const hosts = (text: string): ContainerChange => ({ files: [{ path: "/etc/hosts", mode: 0o644, text }] });
  const look = "cat /here /var/www/v /etc/hosts; ls /etc/group /bin/vi 2>&1; stat -c '%a %u' /; hostname";

  test("is at rest after the delete, and has all that there was for the next container of that id", async () => {
    let path: string;
    {
      await using machine = await startAgentMachine(busybox);
      const first = await machine.create({
        ...hosts("one\n"),
        id,
        volumes,
        script:
          "echo here >/here; echo v >/var/www/v; rm /etc/group /bin/vi; chmod 711 /; chown 7 /; echo done; exec sleep 1000",
      });
      await first.start();
      await first.shows("done");
      await machine.remove(first);
      await expectAtRest(machine.scratchPath);
      path = await kept(machine);
    }
    for (const round of ["two", "three"]) {
      await using machine = await startAgentMachine(busybox, { scratchPath: path });
      const next = await machine.start({ ...hosts(`${round}\n`), id, volumes, script: `${look}; sleep 0.1` });
      const { stdout } = await next.output();
      expect(stdout).toMatch(
        new RegExp(`^here\nv\n${round}\nls: /etc/group: .*\nls: /bin/vi: .*\n711 7\nbox\n$`),
      );
      expect(await changesOf(machine, next)).toEqual(["C /bin", "D /bin/vi", "A /here"]);
      await machine.session.request("system.shutdown", {}, { deadlineMs: 60_000 });
      await machine.session.closed;
      await expectAtRest(path);
    }
  });

  test("of a container that was prepared is another's after it, and at rest, too", async () => {
    let path: string;
    {
      await using machine = await startAgentMachine(busybox);
      await prepareContainer(machine.session, request);
      const first = await machine.create({
        ...hosts("one\n"),
        id,
        script: "echo here >/here; rm /bin/vi /etc/group; echo done; exec sleep 1000",
      });
      expect(first.created.prepared).toBe(true);
      expect(await statFile(machine.session, { id, path: "/etc/hosts" })).toMatchObject({ sizeBytes: 4 });
      expect(await changesOf(machine, first)).toEqual([]);
      await first.start();
      await first.shows("done");
      const list = ["C /bin", "D /bin/vi", "C /etc", "D /etc/group", "A /here"];
      expect(await changesOf(machine, first)).toEqual(list);
      const layer = collectEntries(await buffer(await containerLayer(machine.session, id)));
      expect(layer.map(({ name }) => name)).toEqual(["bin/", "bin/.wh.vi", "etc/", "etc/.wh.group", "here"]);
      expect((await containerProcesses(machine.session, id)).map(({ args }) => args)).toEqual([
        ["sleep", "1000"],
      ]);
      await machine.remove(first);
      await expectAtRest(machine.scratchPath);
      path = await kept(machine);
    }
    await using machine = await startAgentMachine(busybox, { scratchPath: path });
    const next = await machine.start({
      ...hosts("two\n"),
      id,
      script: "cat /here /etc/hosts; ls /etc/group 2>&1",
    });
    expect((await next.output()).stdout).toMatch(/^here\ntwo\nls: \/etc\/group: /);
    await machine.remove(next);
    await expectAtRest(path);
  });

  test("is at rest at the machine's end, too, when what was prepared was of no use", async () => {
    await using machine = await startAgentMachine(busybox);
    await prepareContainer(machine.session, request);
    const other = await machine.start({ script: "echo x >/x", init: true });
    expect(other.created.prepared).toBe(false);
    await other.exit;
    expect(await changesOf(machine, other)).toEqual(["A /x"]);
    await machine.remove(other);
    await machine.session.request("system.shutdown", {}, { deadlineMs: 60_000 });
    await machine.session.closed;
    await expectAtRest(machine.scratchPath);
  });
});
