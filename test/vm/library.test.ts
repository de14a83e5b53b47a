/** `import … from "flamebox"`: the package as a program uses it. */
import { once } from "node:events";
import { Readable } from "node:stream";
import { FlameBoxError, listImages, pull, removeImage, run, start } from "flamebox";
import type { ProgressEvent } from "flamebox";
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
