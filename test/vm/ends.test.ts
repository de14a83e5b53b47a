/** Every way in which a container can end other than well: it is always told why, and nothing is left. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FlameBoxError, pull, run, start } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { bootMachine } from "../../src/container/boot.ts";
import { requireAgent } from "../../src/container/host.ts";
import { findKernel, prepareBoot } from "../../src/machine/kernel/kernel.ts";
import { qemuDriver } from "../../src/machine/qemu/qemu.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
let home: Home;
beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  await pull(busybox, common());
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});
const common = () => ({ paths: home.paths, dockerConfig: null, network: "none" as const });
const shell = (script: string) => ({ ...common(), command: ["sh", "-c", script] });

/** The VMM's process id, of the one container that runs. */
function vmmPid(): number {
  const dir = join(home.paths.dataDir, "containers");
  const [id = ""] = readdirSync(dir).filter((name) => !name.startsWith("."));
  return (JSON.parse(readFileSync(join(dir, id, "owner.json"), "utf8")) as { vmm: { pid: number } }).vmm.pid;
}

const LOST = { code: "machine-lost", message: expect.stringContaining("SIGKILL") as string };

describe("a machine whose VMM is killed", () => {
  test("is lost to everybody who waits, for the same reason", async () => {
    await using container = await start(busybox, { ...shell("cat"), interactive: true });
    const output = container.stdout.toArray().catch((error: unknown) => error);
    const ended = container.wait().catch((error: unknown) => error);
    process.kill(vmmPid(), "SIGKILL");
    expect(await ended).toMatchObject(LOST);
    expect(await output).toMatchObject(LOST);
    await expect(container.kill(9)).rejects.toMatchObject(LOST);
    container.stdin?.write("to nobody");
  });

  test("gives the command line 125 and a line that says so", async () => {
    // An error that nobody awaits would end the process in another way.
    const env = { NODE_OPTIONS: "--unhandled-rejections=strict" };
    const running = home.spawn(
      ["run", "--rm", "-q", "--network", "none", busybox, "sh", "-c", "echo up; cat /dev/zero >/dev/null"],
      env,
    );
    await running.shows("up");
    process.kill(vmmPid(), "SIGKILL");
    const { code, stderr } = await running.ended;
    expect({ code, stderr }).toMatchObject({ code: 125 });
    expect(stderr).toMatch(/^flamebox: the machine was lost: its VMM was ended by SIGKILL/);
    await home.run(["images"]);
    expect(await home.leftovers()).toEqual([]);
  });
});

test("a guest that goes away by itself is lost, and said to have done so", async () => {
  const { paths } = home;
  const kernel = await findKernel(paths);
  if (kernel === undefined) throw new Error(`there is no kernel in ${paths.dataDir}`);
  await using booted = await bootMachine({
    driver: qemuDriver({ acceleration: "tcg" }),
    emulated: true,
    config: {
      boot: await prepareBoot(kernel, await requireAgent(paths), paths),
      cpus: 1,
      memoryMib: 256,
      disks: {},
    },
    startNetwork: undefined,
    onRetry: () => {},
  });
  expect(await booted.session.request("system.shutdown", {})).toEqual({});
  expect(await booted.session.closed).toMatchObject({
    code: "machine-lost",
    message: expect.stringMatching(/switched itself off or crashed/) as string,
  });
});

describe("an abort", () => {
  test.each([0, 15, 40, 80, 150, 300, 600, 1000, 1500, 2000, 2600])(
    "%i ms after the start leaves nothing",
    async (delayMs) => {
      const reason = new Error("enough");
      const controller = new AbortController();
      const running = run(busybox, { ...common(), command: ["sleep", "1000"], signal: controller.signal });
      setTimeout(() => controller.abort(reason), delayMs);
      await expect(running).rejects.toBe(reason);
      expect(await home.leftovers()).toEqual([]);
    },
  );
});

test.each<[name: string, options: Parameters<typeof start>[1], code: string]>([
  ["an unknown user", { user: "bob" }, "user-not-found"],
  ["an unknown group", { user: "root:bobs" }, "user-not-found"],
  ["an unknown command", { command: ["/no/such"] }, "command-not-found"],
  ["a program that is none", { command: ["/etc/not-executable"] }, "command-not-executable"],
  ["a working directory that is a file", { workdir: "/etc/passwd" }, "invalid-config"],
  ["a disk that is too small", { storageBytes: 1 }, "invalid-option"],
  ["more arguments than a guest takes", { command: ["true", "x".repeat(5 << 20)] }, "request-too-large"],
  ["a kernel that is none", { kernel: "/etc/passwd" }, "not-a-kernel"],
])("a start that fails of %s leaves nothing", async (_name, options, code) => {
  const failure = await start(busybox, { ...common(), ...options }).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(FlameBoxError);
  expect(failure).toMatchObject({ code });
  expect(await home.leftovers()).toEqual([]);
});

test("disposing twice at once waits twice until nothing is left", async () => {
  const container = await start(busybox, { ...common(), command: ["sleep", "1000"] });
  const waiting = container.wait().catch((error: unknown) => error);
  const left = await Promise.all(
    [1, 2].map(async () => {
      await container[Symbol.asyncDispose]();
      return readdirSync(join(home.paths.dataDir, "containers"));
    }),
  );
  expect(left).toEqual([[], []]);
  expect(await waiting).toBeInstanceOf(FlameBoxError);
});

describe("a process that", () => {
  test.each<[name: string, script: string, code: number]>([
    ["never reads its input", "exit 3", 3],
    ["closes its input", "exec <&-; sleep 0.5; exit 4", 4],
    ["closes everything", "exec <&- >&- 2>&-; sleep 0.5; exit 5", 5],
    ["leaves a child that holds its output", "sleep 1000 & exit 6", 6],
    ["leaves a daemon behind", "(setsid sleep 1000 &) ; kill -9 $$; exit 7", 7],
    ["stops itself", "kill -STOP $$; exit 8", 8],
    ["kills all it can", "kill -9 -1; exit 9", 9],
  ])("%s ends with its own exit code", async (_name, script, code) => {
    const result = await run(busybox, { ...shell(script), stdin: Buffer.alloc(4 << 20) });
    expect(result.code).toBe(code);
  });

  test("takes all memory is ended for that", async () => {
    const result = await run(busybox, { ...common(), command: ["tail", "/dev/zero"], memoryMib: 192 });
    expect(result).toMatchObject({ code: 137, signal: 9, oomKilled: true });
  });

  test("writes without end to a reader who has gone can still be signalled", async () => {
    const script = "(while :; do cat /dev/zero; done) & cat /dev/zero";
    await using container = await start(busybox, { ...shell(script), cpus: 2 });
    container.stdout.destroy();
    await container.kill(9);
    expect(await container.wait()).toMatchObject({ code: 137 });
  });
});

test("after all of this nothing is left", async () => {
  expect(await home.leftovers()).toEqual([]);
});
