/** `import … from "flamebox"`: the package as a program uses it. */
import { once } from "node:events";
import { Readable } from "node:stream";
import {
  createContainer,
  FlameBox,
  FlameBoxError,
  listContainers,
  listImages,
  pull,
  removeImage,
  run,
  start,
} from "flamebox";
import type { ConnectedFlameBox, OutputEvent, ProgressEvent } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
let home: Home;
beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});
const common = () => ({ paths: home.paths, dockerConfig: null });

describe("the library", () => {
  test("pulls, with progress, lists, runs and removes", async () => {
    const events: ProgressEvent[] = [];
    const image = await pull(busybox, { ...common(), onProgress: (event) => events.push(event) });
    expect(image).toMatchObject({ reference: busybox, platform: "linux/amd64" });
    const layers = events.filter(({ id }) => id.startsWith("layer:"));
    expect(layers.at(-1)).toMatchObject({ state: "done" });
    expect((await listImages(common())).map(({ reference }) => reference)).toEqual([busybox]);

    const result = await run(busybox, {
      ...common(),
      command: ["cat"],
      stdin: Readable.from(["from ", "a stream"]),
    });
    expect({ code: result.code, out: result.stdout.toString() }).toEqual({ code: 0, out: "from a stream" });
    expect(result.bootRetries).toBeGreaterThanOrEqual(0);

    const removed = await removeImage(busybox, common());
    expect(removed.untagged).toEqual([busybox]);
    expect(removed.reclaimedBytes).toBeGreaterThan(1_000_000);
    expect(await listImages(common())).toEqual([]);
  });

  test("gives errors with a code and a hint", async () => {
    const failure = await run("127.0.0.1:1/x:1", common()).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(FlameBoxError);
    expect(failure).toMatchObject({
      code: "registry-unreachable",
      hint: expect.stringMatching(/\w/) as string,
    });
  });

  test("a started container can be written to, resized, signalled and waited for", async () => {
    const script =
      "trap 'stty size; exit 5' TERM; echo ready; read line; echo got $line; while :; do sleep 0.1; done";
    await using container = await start(busybox, {
      ...common(),
      command: ["sh", "-c", script],
      interactive: true,
      tty: { columns: 80, rows: 24 },
    });
    expect(container.kernelRelease).toMatch(/^6\.12\./);
    let output = "";
    container.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const shows = async (text: string): Promise<void> => {
      while (!output.includes(text)) await once(container.stdout, "data");
    };
    await shows("ready");
    container.stdin?.write("a line\n");
    await shows("got a line");
    await container.resize({ columns: 132, rows: 50 });
    await container.kill(15);
    expect(await container.wait()).toMatchObject({ code: 5 });
    expect(output).toContain("50 132");
  });

  test("a process that a signal ends has Docker's number for it", async () => {
    await using container = await start(busybox, { ...common(), command: ["sleep", "1000"] });
    await container.kill(9);
    expect(await container.wait()).toMatchObject({ code: 137, signal: 9, oomKilled: false });
  });

  test("an aborted run rejects with the signal's reason and leaves nothing", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const running = run(busybox, { ...common(), command: ["sleep", "1000"], signal: controller.signal });
    setTimeout(() => controller.abort(reason), 1500);
    await expect(running).rejects.toBe(reason);
    expect(await home.leftovers()).toEqual([]);
  });

  test("two at once are two machines", async () => {
    const command = ["sh", "-c", "hostname; sleep 1"];
    const both = await Promise.all([
      run(busybox, { ...common(), command }),
      run(busybox, { ...common(), command }),
    ]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(both[0].stdout.toString()).not.toBe(both[1].stdout.toString());
    expect(await home.leftovers()).toEqual([]);
  });
});

async function outputOf(pieces: AsyncIterable<OutputEvent>): Promise<string[]> {
  const said: string[] = [];
  for await (const { stream, bytes } of pieces) said.push(`${stream} ${bytes.toString()}`);
  return said;
}

async function eventually(is: () => Promise<boolean>): Promise<void> {
  while (!(await is())) await new Promise((resolve) => setTimeout(resolve, 50));
}

describe("a box of a container that lives by itself", () => {
  const quiet = () => ({ ...common(), network: "none" as const });

  async function removed(box: ConnectedFlameBox): Promise<void> {
    await box.remove({ force: true });
    await expect(FlameBox.connect(box.id, common())).rejects.toMatchObject({ code: "container-not-found" });
  }

  test("has what one of this process's has, and goes on when it is closed", async () => {
    const script = "echo begun; echo wrong >&2; while [ ! -e /go ]; do sleep 0.1; done; echo done; exit 4";
    const ran = await home.run([
      "run",
      "-dq",
      "--name",
      "web",
      "--network",
      "none",
      busybox,
      "sh",
      "-c",
      script,
    ]);
    expect(ran).toMatchObject({ code: 0 });
    const box = await FlameBox.connect("web", common());
    expect([box.id, box.name, box.ports]).toEqual([ran.stdout.trim(), "web", []]);
    expect(box.machine).toMatch(/^(qemu|firecracker) \(/);

    await box.files.write("/deep/in/run.sh", "echo $((6 * 7)); echo no >&2; exit 3\n", { mode: 0o755 });
    expect(await box.exec("sh /deep/in/run.sh")).toEqual({
      exitCode: 3,
      stdout: "42\n",
      stderr: "no\n",
      oomKilled: false,
    });
    expect(await box.exec(["cat"], { stdin: "through" })).toMatchObject({ stdout: "through" });
    expect((await box.files.list("/deep")).map(({ name, type }) => [name, type])).toEqual([
      ["in", "directory"],
    ]);
    expect(await box.files.readText("/deep/in/run.sh")).toContain("exit 3");
    expect([await box.files.exists("/deep"), await box.files.exists("/nope")]).toEqual([true, false]);
    await expect(box.files.list("/deep/in/run.sh")).rejects.toMatchObject({ code: "not-a-directory" });
    await expect(box.files.list("/nope")).rejects.toMatchObject({ code: "path-not-found" });
    await expect(box.exec(["no-such"])).rejects.toMatchObject({ code: "command-not-found" });
    await expect(box.exec("sleep 60", { timeoutMs: 300 })).rejects.toMatchObject({ code: "exec-timeout" });
    await expect(box.exec("yes", { maxOutputBytes: 10_000 })).rejects.toMatchObject({
      code: "output-too-large",
    });
    const reason = new Error("enough");
    for (const signal of [AbortSignal.abort(reason), abortedSoon(reason)])
      await expect(box.exec("sleep 1000", { signal })).rejects.toBe(reason);
    await expect(outputOf(box.logs({ follow: true, signal: abortedSoon(reason) }))).rejects.toBe(reason);
    const changed: string[] = [];
    for await (const { path } of box.changes()) changed.push(path);
    expect(changed).toContain("/deep/in/run.sh");
    expect((await box.processes()).length).toBeGreaterThanOrEqual(1);
    expect((await box.stats()).memoryLimitBytes).toBeGreaterThan(1 << 20);
    await box.pause();
    expect(await box.inspect()).toMatchObject({ status: "paused", name: "web" });
    await box.unpause();

    await eventually(async () => (await outputOf(box.logs())).length === 2);
    expect((await outputOf(box.logs())).toSorted()).toEqual(["stderr wrong\n", "stdout begun\n"]);
    // Whoever lets go of it ends nothing, neither it nor what runs in it.
    await box.spawn("sleep 0.3; touch /left");
    await box.close();
    await using again = await FlameBox.connect(box.id.slice(0, 12), common());
    await eventually(async () => await again.files.exists("/left"));
    const all = outputOf(again.output());
    await again.files.write("/go", "");
    expect(await again.wait()).toMatchObject({ code: 4 });
    expect((await all).toSorted()).toEqual(["stderr wrong\n", "stdout begun\n", "stdout done\n"]);
    await expect(again.exec("true")).rejects.toMatchObject({ code: "container-not-running" });
    await removed(again);
  });

  test("is made by createDetached, stopped, started, and listed", async () => {
    const box = await FlameBox.createDetached(busybox, { ...quiet(), name: "kept", labels: { app: "shop" } });
    await box.exec("echo here >/file");
    await box.close();
    expect(await listContainers(common())).toMatchObject([{ name: "kept", status: "running" }]);

    const [listed, ...others] = await FlameBox.list({ ...common(), filters: ["label=app=shop"] });
    expect([listed?.name, others]).toEqual(["kept", []]);
    expect(await FlameBox.list({ ...common(), filters: ["label=app=other"] })).toEqual([]);
    await expect(FlameBox.list({ ...common(), filters: ["colour=red"] })).rejects.toMatchObject({
      code: "invalid-filter",
    });
    const found = await listed?.connect();
    if (found === undefined) throw new Error("it is not listed");
    expect(await found.stop()).toEqual({ code: 137, oomKilled: false });
    // A second time it only tells.
    expect(await found.stop()).toMatchObject({ code: 137 });
    expect(await FlameBox.list(common())).toEqual([]);
    expect(await FlameBox.list({ ...common(), filters: ["status=exited"] })).toMatchObject([
      { name: "kept" },
    ]);
    await found.start();
    expect(await found.exec("cat /file")).toMatchObject({ stdout: "here\n" });
    await expect(found.remove()).rejects.toMatchObject({ code: "container-running" });
    await removed(found);
  });

  test("of one that was only created, it can be started", async () => {
    const { id } = await createContainer(busybox, { ...quiet(), command: ["sh", "-c", "echo hi"] });
    await using box = await FlameBox.connect(id, common());
    expect(await box.inspect()).toMatchObject({ status: "created" });
    await expect(box.exec("true")).rejects.toMatchObject({ code: "container-not-running" });
    await box.start();
    expect(await box.wait()).toMatchObject({ code: 0 });
    expect(await outputOf(box.logs())).toEqual(["stdout hi\n"]);
    await removed(box);
  });

  test("that cannot be made leaves nothing", async () => {
    const made = FlameBox.createDetached(busybox, { ...quiet(), name: "bad", command: ["no-such"] });
    await expect(made).rejects.toMatchObject({ code: "command-not-found" });
    expect(await listContainers({ ...common(), all: true })).toEqual([]);
    await expect(FlameBox.connect("bad", common())).rejects.toMatchObject({ code: "container-not-found" });
  });
});

function abortedSoon(reason: Error): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 200);
  return controller.signal;
}
