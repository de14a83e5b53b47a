/** Files in and out of containers, what they have changed, and images made of them, from the command line. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FlameBox } from "flamebox";
import type { OutputEvent } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";
import { isLong } from "../support/long.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const SCRIPT =
  "mkdir -p /d/e; echo hi >/d/e/f; ln -s e /d/l; rm /etc/shells; echo x >>/etc/group; echo ready; sleep 1000";
let home: Home;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  await fine("pull", "-q", busybox);
  await fine("run", "-q", "-d", "--name", "box", "--network", "none", busybox, "sh", "-c", SCRIPT);
  while (!(await fine("logs", "box")).includes("ready"))
    await new Promise((resolve) => setTimeout(resolve, 100));
});
afterAll(async () => {
  await fine("rm", "-f", "box");
  const left = await home.leftovers();
  await home[Symbol.asyncDispose]();
  if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
});

async function fine(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await home.run(args);
  if (code !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
  return stdout.trimEnd();
}

const CHANGES = ["A /d", "A /d/e", "A /d/e/f", "A /d/l", "C /etc", "C /etc/group"];
const local = (name: string) => join(home.dir, name);

describe.each(["that runs", "that has ended"])("a container %s", (state) => {
  beforeAll(async () => {
    if (state === "that has ended") await fine("stop", "-t", "0", "box");
  });

  test("tells what it has changed", async () => {
    const changes = (await fine("diff", "box")).split("\n");
    for (const change of CHANGES) expect(changes).toContain(change);
  });

  // Out of a container that has ended, the bytes come the same way, and more slowly.
  const megabytes = state === "that runs" || isLong ? 100 : 20;
  test(`gives and takes ${megabytes} MB exactly, and trees`, async () => {
    const bytes = randomBytes(megabytes << 20);
    writeFileSync(local("big"), bytes);
    await fine("cp", local("big"), "box:/tmp/");
    await fine("cp", "box:/tmp/big", local("again"));
    expect(readFileSync(local("again")).equals(bytes)).toBe(true);
    mkdirSync(local("out"), { recursive: true });
    await fine("cp", "box:/d", local("out"));
    expect(readFileSync(join(local("out"), "d", "l", "f"), "utf8")).toBe("hi\n");
    await fine("cp", `${join(local("out"), "d")}/.`, "box:/srv");
    await fine("cp", "box:/srv/e/f", local("back"));
    expect(readFileSync(local("back"), "utf8")).toBe("hi\n");
  });

  test("refuses what docker cp refuses, and says why", async () => {
    for (const [from, to, words] of [
      ["box:/no/such", local("x"), "there is nothing"],
      [local("no-such"), "box:/tmp", "there is no such file"],
      ["box:/d/e/f", `${local("missing")}/`, "there is no directory"],
      ["box:/d", local("big"), "is no directory"],
      ["box:/d", "box:/e", "one of the two"],
    ] as const) {
      const { code, stderr } = await home.run(["cp", from, to]);
      expect(code).not.toBe(0);
      expect(stderr.toLowerCase()).toContain(words);
    }
  });

  test("is exported as an archive, and becomes an image", async () => {
    await fine("export", "-o", local("box.tar"), "box");
    expect(existsSync(local("box.tar"))).toBe(true);
    const id = await fine("commit", "-m", "with d", "-c", 'CMD ["cat", "/d/e/f"]', "box", "made:1");
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await fine("run", "--rm", "-q", "--network", "none", "made:1")).toBe("hi");
    expect(await fine("history", "--format", "{{.Comment}}", "made:1")).toContain("with d");
    await fine("rmi", "made:1");
  });
});

test("a directory, and its archive, are run as they are, and import gives them a name", async () => {
  mkdirSync(local("rootfs"));
  await fine("export", "-o", local("rootfs.tar"), "box");
  execFileSync("tar", ["-C", local("rootfs"), "-xpf", local("rootfs.tar")]);
  writeFileSync(join(local("rootfs"), "d", "e", "f"), "of the directory");
  const run = async (image: string) =>
    await fine("run", "--rm", "-q", "--network", "none", image, "cat", "/d/l/f");
  expect(await run(`dir:${local("rootfs")}`)).toBe("of the directory");
  const listed = async () => await fine("images", "-q", "--filter", "dangling=true");
  const images = await listed();
  expect(await run(`dir:${local("rootfs")}`)).toBe("of the directory");
  expect(await listed()).toBe(images);
  expect(await run(`tar:${local("rootfs.tar")}`)).toBe("hi");
  await fine("import", "-q", "-c", 'CMD ["cat", "/d/e/f"]', local("rootfs"), "made:2");
  expect(await fine("run", "--rm", "-q", "--network", "none", "made:2")).toBe("of the directory");
  await fine("rmi", "made:2");
});

test("an image that a container was made of stays", async () => {
  expect((await home.run(["rmi", busybox])).stderr).toContain("is that of the container box");
});

test("a box of the library's: files, commands, changes, and what it costs", async () => {
  const options = { paths: home.paths, dockerConfig: null, network: "none" as const };
  const box = await FlameBox.create(busybox, options);
  try {
    await box.files.write("/deep/in/there/run.sh", "echo $((6 * 7)); echo no >&2; exit 3\n", { mode: 0o755 });
    expect(await box.exec("sh /deep/in/there/run.sh")).toEqual({
      exitCode: 3,
      stdout: "42\n",
      stderr: "no\n",
      oomKilled: false,
    });
    expect(await box.exec(["cat"], { stdin: "through" })).toMatchObject({ stdout: "through" });
    expect(await box.files.readText("/deep/in/there/run.sh")).toContain("exit 3");
    expect((await box.files.list("/deep/in")).map(({ name, type }) => [name, type])).toEqual([
      ["there", "directory"],
    ]);
    expect((await box.files.list("/")).map(({ name }) => name)).toContain("deep");
    // A directory's list has nothing of what is below, nor of content, which is half a gigabyte here.
    await box.exec(
      "mkdir -p /large/sub; truncate -s 512M /large/sub/f; ln -s /large /to; truncate -s 512M /large/g",
    );
    const began = performance.now();
    expect(await box.files.list("/to")).toMatchObject([
      { name: "g", type: "file", sizeBytes: 512 << 20, mode: 0o644, uid: 0 },
      { name: "sub", type: "directory" },
    ]);
    expect((await box.files.list("/")).find(({ name }) => name === "to")).toMatchObject({
      linkTarget: "/large",
    });
    expect(performance.now() - began).toBeLessThan(5_000);
    await expect(box.files.list("/large/g")).rejects.toMatchObject({ code: "not-a-directory" });
    await expect(box.files.list("/nope")).rejects.toMatchObject({ code: "path-not-found" });
    expect([await box.files.exists("/deep"), await box.files.exists("/nope")]).toEqual([true, false]);
    await expect(box.files.read("/nope")).rejects.toMatchObject({ code: "path-not-found" });
    await expect(box.files.read("/deep")).rejects.toMatchObject({ code: "not-a-file" });
    await expect(box.exec("sleep 60", { timeoutMs: 300 })).rejects.toMatchObject({ code: "exec-timeout" });
    await expect(box.exec(["no-such"])).rejects.toMatchObject({ code: "command-not-found" });
    await expect(box.exec("yes", { maxOutputBytes: 10_000 })).rejects.toMatchObject({
      code: "output-too-large",
    });
    // Whose parents have gone are nobody's zombies.
    await box.exec("for i in 1 2 3 4 5; do (sleep 0.1 &) ; done; sleep 0.5");
    expect((await box.exec("grep -l '^State:.Z' /proc/[0-9]*/status | wc -l")).stdout).toBe("0\n");
    const changed: string[] = [];
    for await (const { path } of box.changes()) changed.push(path);
    expect(changed).toContain("/deep/in/there/run.sh");
    expect(await box.stats()).toMatchObject({ pids: 1 });
    expect(await box.stop()).toMatchObject({ code: 137 });
  } finally {
    await box[Symbol.asyncDispose]();
  }
});

test("a box of the library's: what its first process says, and signals that end what takes too long", async () => {
  const script = "echo begun; echo wrong >&2; while [ ! -e /go ]; do sleep 0.1; done; echo done; exit 4";
  const options = { paths: home.paths, dockerConfig: null, network: "none" as const };
  const box = await FlameBox.create(busybox, { ...options, command: ["sh", "-c", script], name: "talker" });
  try {
    expect(box.name).toBe("talker");
    const words = async (logs: AsyncIterable<OutputEvent>): Promise<string[]> => {
      const said: string[] = [];
      for await (const { stream, bytes } of logs) said.push(`${stream} ${bytes.toString()}`);
      return said.toSorted();
    };
    while ((await words(box.logs())).length < 2) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await words(box.logs())).toEqual(["stderr wrong\n", "stdout begun\n"]);
    expect((await box.processes()).length).toBeGreaterThanOrEqual(1);

    await box.exec("truncate -s 200M /large");
    const reason = new Error("enough");
    for (const call of [
      async (signal: AbortSignal) => await box.files.read("/large", { signal }),
      async (signal: AbortSignal) => await box.files.write("/again", Buffer.alloc(100 << 20), { signal }),
      async (signal: AbortSignal) => await box.files.copyOut("/large", local("large"), { signal }),
      async (signal: AbortSignal) => await box.exec("sleep 1000", { signal }),
      async (signal: AbortSignal) => await box.wait({ signal }),
      async (signal: AbortSignal) => await words(box.logs({ follow: true, signal })),
    ]) {
      const controller = new AbortController();
      const called = call(controller.signal);
      setTimeout(() => controller.abort(reason), 100);
      await expect(called).rejects.toBe(reason);
    }
    const signal = AbortSignal.abort(reason);
    for (const call of [
      async () => await box.files.stat("/", { signal }),
      async () => await box.files.exists("/", { signal }),
      async () => await box.files.list("/", { signal }),
      async () => await box.stats({ signal }),
    ])
      await expect(call()).rejects.toBe(reason);
    // Nothing of all that has harmed it.
    const followed = words(box.logs({ follow: true }));
    await box.files.write("/go", "");
    expect(await box.wait()).toMatchObject({ code: 4 });
    expect(await followed).toEqual(["stderr wrong\n", "stdout begun\n", "stdout done\n"]);
  } finally {
    await box[Symbol.asyncDispose]();
  }
});
