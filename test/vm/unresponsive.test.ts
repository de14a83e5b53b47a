/** A machine that lives and does not answer: its VMM is stopped, as a guest would that hangs. */
import { setTimeout as sleep } from "node:timers/promises";
import { pull } from "flamebox";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { prepareHost } from "../../src/container/host.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { startOn } from "../../src/container/start.ts";
import { startTicksOf } from "../../src/util/liveness.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const HEARTBEAT = { everyMs: 500, answerMs: 3_000, misses: 3 };

let home: Home;
beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  await pull(busybox, { paths: home.paths, dockerConfig: null });
});
afterAll(async () => await home[Symbol.asyncDispose]());

/** A container, and the machine that it runs in. */
async function started(script: string) {
  let machine: Machine | undefined;
  const surroundings = {
    heartbeat: HEARTBEAT,
    prepareHost: async (...args: Parameters<typeof prepareHost>) => {
      const host = await prepareHost(...args);
      const { templates } = host.driver;
      if (templates === undefined) throw new Error(`${host.driver.name} has no templates`);
      const restore: typeof templates.restore = async (request, options) =>
        (machine = await templates.restore(request, options));
      return { ...host, driver: { ...host.driver, templates: { ...templates, restore } } };
    },
  };
  const command = ["sh", "-c", script];
  const container = await startOn(surroundings, busybox, {
    paths: home.paths,
    network: "none",
    pull: "never",
    command,
  });
  if (machine === undefined) throw new Error("no machine was started");
  return { container, machine };
}

test("is lost after three unanswered pings, and ended, with all that waits for it", async () => {
  const { container, machine } = await started("sleep 1000");
  await using owned = container;
  const output = owned.stdout.toArray().catch((error: unknown) => error);
  process.kill(machine.pid, "SIGSTOP");
  const lost = {
    code: "agent-unresponsive",
    message: expect.stringMatching(/^the machine was lost: its agent has not answered for 9 s/) as string,
  };
  await expect(owned.wait()).rejects.toMatchObject(lost);
  expect(await output).toMatchObject(lost);
  await machine.exited;
  expect(startTicksOf(machine.pid)).toBeUndefined();
});

test("is not lost when it hangs for less than that", async () => {
  const { container, machine } = await started("sleep 8; exit 6");
  await using owned = container;
  process.kill(machine.pid, "SIGSTOP");
  await sleep(4_000);
  process.kill(machine.pid, "SIGCONT");
  expect(await owned.wait()).toMatchObject({ code: 6 });
});

test("nothing is left", async () => {
  await home.run(["images"]);
  expect(await home.leftovers()).toEqual([]);
});
