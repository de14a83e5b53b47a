/** Containers from templates, on QEMU and through the library's own built package. */
import { join } from "node:path";
import { listTemplates, run, start } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { clonesContract } from "../contract/clones.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;

let home: Home;
beforeAll(async () => {
  home = await makeHome(inject("kernelDir"), { ownTemplates: true });
  const pulled = await home.run(["pull", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
});
afterAll(async () => {
  const left = await home.leftovers();
  await home[Symbol.asyncDispose]();
  if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
});

const common = () => ({ paths: home.paths, dockerConfig: null });

clonesContract("QEMU", async () => ({
  start: async (options) => await start(busybox, { ...common(), vmm: "qemu", ...options }),
  templatesDir: join(home.paths.dataDir, "templates"),
}));

describe("shapes", () => {
  test("--cpus and --memory are the machine's, and get a template of their own", async () => {
    const script = "nproc; grep MemTotal /proc/meminfo";
    const { code, stdout } = await run(busybox, {
      ...common(),
      cpus: 2,
      memoryMib: 700,
      command: ["sh", "-c", script],
    });
    expect(code).toBe(0);
    const [cpus, memory = ""] = stdout.toString().split("\n");
    expect(cpus).toBe("2");
    expect(Number(/\d+/.exec(memory)?.[0])).toBeGreaterThan(700 * 1024);
    const made = (await listTemplates(common()))[0];
    expect(made).toMatchObject({ cpus: 2, network: true });
    expect(made?.memoryMib).toBeGreaterThan(700);
    expect(made?.diskBytes).toBeLessThan(400 * 2 ** 20);
  });

  test("--network none is a machine without an interface, and another template", async () => {
    const { code, stdout } = await run(busybox, {
      ...common(),
      network: "none",
      command: ["ls", "/sys/class/net"],
    });
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 0, stdout: "lo\n" });
    expect((await listTemplates(common()))[0]).toMatchObject({ cpus: 1, network: false });
  });
});
