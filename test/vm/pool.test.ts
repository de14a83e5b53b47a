/** Containers that wait, in real machines: taken, replaced, lost, and gone with their pool. */
import { setTimeout as sleep } from "node:timers/promises";
import { createPool } from "flamebox";
import type { Pool, RunningContainer } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;

let home: Home;
beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  const pulled = await home.run(["pull", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
});
afterAll(async () => {
  const left = await home.leftovers();
  await home[Symbol.asyncDispose]();
  if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
});

const common = () => ({ paths: home.paths, dockerConfig: null });

async function outputOf(container: RunningContainer): Promise<{ code: number; output: string }> {
  const output = Buffer.concat(await container.stdout.toArray()).toString();
  const { code } = await container.wait();
  await container[Symbol.asyncDispose]();
  return { code, output };
}

async function untilReady(pool: Pool): Promise<void> {
  while (pool.ready < pool.size) await sleep(50);
}

describe("a pool with an image", () => {
  test("gives each start a container of its own, with its command and environment", async () => {
    await using pool = await createPool({ ...common(), size: 2, image: busybox, env: { A: "1", B: "2" } });
    expect([pool.size, pool.ready]).toEqual([2, 2]);
    const script = "echo $A $B $C $HOME; touch /mine; ls /mine; hostname; exit 3";
    const command = ["sh", "-c", script];
    const both = await Promise.all(
      ["x", "y"].map(async (mark) => await outputOf(await pool.start({ command, env: { B: mark, C: "c" } }))),
    );
    const lines = both.map(({ output }) => output.split("\n"));
    expect(both.map(({ code }) => code)).toEqual([3, 3]);
    expect(lines.map(([first, second]) => [first, second])).toEqual([
      ["1 x c /root", "/mine"],
      ["1 y c /root", "/mine"],
    ]);
    expect(lines[0]?.[2]).not.toBe(lines[1]?.[2]);
    await untilReady(pool);
    expect(await outputOf(await pool.start({ command: ["ls", "/mine"] }))).toMatchObject({ code: 1 });
  });

  test("runs the options' command where a start names none", async () => {
    await using pool = await createPool({ ...common(), size: 1, image: busybox, command: ["echo", "usual"] });
    expect(await outputOf(await pool.start())).toEqual({ code: 0, output: "usual\n" });
  });

  test("tells what the exec tells, and goes on", async () => {
    await using pool = await createPool({ ...common(), size: 1, image: busybox });
    await expect(pool.start({ command: ["no-such-program"] })).rejects.toMatchObject({
      code: "command-not-found",
    });
    expect(await outputOf(await pool.start({ command: ["echo", "on"] }))).toEqual({
      code: 0,
      output: "on\n",
    });
  });

  test("passes over a machine that was lost while it waited", async () => {
    await using pool = await createPool({ ...common(), size: 1, image: busybox });
    const [vmm] = home.processes().filter(({ command }) => command.includes("qemu-system"));
    if (vmm === undefined) throw new Error("no VMM is there");
    process.kill(vmm.pid, "SIGKILL");
    while (pool.ready > 0) await sleep(20);
    expect(await outputOf(await pool.start({ command: ["echo", "new"] }))).toEqual({
      code: 0,
      output: "new\n",
    });
  });

  test("refuses another command where its options have fixed it", async () => {
    await using pool = await createPool({
      ...common(),
      size: 1,
      image: busybox,
      init: true,
      command: ["true"],
    });
    await expect(pool.start({ command: ["echo"] })).rejects.toMatchObject({ code: "invalid-option" });
    expect(await outputOf(await pool.start())).toMatchObject({ code: 0 });
  });

  test("can be waited for as long as somebody wants to", async () => {
    await using pool = await createPool({ ...common(), size: 1, image: busybox });
    const first = await pool.start({ command: ["true"] });
    const reason = new Error("enough");
    await expect(pool.start({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const soon = new AbortController();
    const waiting = pool.start({ command: ["true"], signal: soon.signal });
    soon.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await first[Symbol.asyncDispose]();
    expect(await outputOf(await pool.start({ command: ["echo", "still"] }))).toMatchObject({
      output: "still\n",
    });
  });
});

describe("a box of a pool", () => {
  test("has commands and files, its own environment, and ends with its block", async () => {
    await using pool = await createPool({ ...common(), size: 1, image: busybox, env: { A: "1", B: "2" } });
    {
      await using box = await pool.take({ env: { B: "x" } });
      await box.files.write("/app/run.sh", "echo $A $B; hostname; exit 3\n");
      const { exitCode, stdout } = await box.exec("sh /app/run.sh");
      expect([exitCode, stdout.split("\n").slice(0, 2)]).toEqual([3, ["1 x", box.id.slice(0, 12)]]);
      await untilReady(pool);
    }
    await using other = await pool.take();
    expect(await other.files.exists("/app")).toBe(false);
    // Its first process does nothing, and is not waited for.
    expect(await other.stop()).toMatchObject({ code: 137 });
    await expect(pool.take({ image: busybox })).rejects.toMatchObject({ code: "invalid-option" });
  });

  test("runs a command, whose output it keeps", async () => {
    await using pool = await createPool({ ...common(), size: 1, image: busybox, command: ["echo", "usual"] });
    for (const [options, said] of [
      [{}, "usual\n"],
      [{ command: ["echo", "own"] }, "own\n"],
    ] as const) {
      await using box = await pool.take(options);
      const pieces: Buffer[] = [];
      for await (const { bytes } of box.output()) pieces.push(bytes);
      expect([Buffer.concat(pieces).toString(), (await box.wait()).code]).toEqual([said, 0]);
    }
  });

  test("is refused where the pool's options fix another process, and has none with idle", async () => {
    await using fixed = await createPool({ ...common(), size: 1, image: busybox, init: true });
    await expect(fixed.take()).rejects.toMatchObject({ code: "invalid-option" });
    await using idle = await createPool({ ...common(), size: 1, image: busybox, init: true, idle: true });
    await using box = await idle.take();
    expect(await box.exec("echo in")).toMatchObject({ stdout: "in\n" });
  });
});

describe("a pool without an image", () => {
  test("makes each start's container in a machine that waits", async () => {
    await using pool = await createPool({ ...common(), size: 1 });
    await expect(pool.start()).rejects.toMatchObject({ code: "invalid-option" });
    const start = { image: busybox, command: ["echo", "machine"] };
    expect(await outputOf(await pool.start(start))).toEqual({ code: 0, output: "machine\n" });
    await using box = await pool.take({ image: busybox });
    expect(await box.exec("echo box")).toMatchObject({ stdout: "box\n" });
  });

  test("goes on after an image that is not there", async () => {
    await using pool = await createPool({ ...common(), size: 1, pull: "never" });
    await expect(pool.start({ image: "no/such:image" })).rejects.toMatchObject({ code: "image-not-found" });
    expect(await outputOf(await pool.start({ image: busybox, command: ["true"] }))).toMatchObject({
      code: 0,
    });
  });
});

test.each([0, -1, 1.5, 1_001])("a pool of %s is refused", async (size) => {
  await expect(createPool({ ...common(), size, image: busybox })).rejects.toMatchObject({
    code: "invalid-option",
  });
});

test("a closed pool starts nothing, and leaves nothing", async () => {
  const pool = await createPool({ ...common(), size: 2, image: busybox });
  await pool[Symbol.asyncDispose]();
  await expect(pool.start()).rejects.toMatchObject({ code: "pool-closed" });
  expect(await home.leftoverProcesses()).toEqual([]);
});
