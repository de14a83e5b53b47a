/**
 * A container that is made before it is known what for (`container.prepare`): what it becomes, what it does not, and that
 * it goes as any other. Each test has a machine of its own, because a machine has one such container.
 */
import { inject, describe, expect, test } from "vitest";
import { prepareContainer, rehearse, startContainer } from "../../src/agent/client.ts";
import { BASE_SERIAL, SCRATCH_SERIAL } from "../../src/machine/qemu/arguments.ts";
import { generate } from "../../src/runtime-spec/generate.ts";
import { startAgentMachine } from "../support/agent-machine.ts";
import type { AgentMachine, ContainerChange } from "../support/agent-machine.ts";
import { rows } from "../support/long.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const share = { memoryLimitBytes: 400 * 2 ** 20, cpu: undefined };
const request = {
  baseDevice: BASE_SERIAL,
  scratchDevice: SCRATCH_SERIAL,
  config: generate(
    {},
    { containerId: "0".repeat(12), hostname: "nobody", command: ["true"], share, kernelRelease: "6.12.0" },
  ),
};

async function prepared(): Promise<AgentMachine> {
  const machine = await startAgentMachine(busybox);
  await prepareContainer(machine.session, request);
  return machine;
}

test("it becomes the first container, is joined, deleted, and followed by one made in the ordinary way", async () => {
  await using machine = await prepared();
  const first = await machine.create({
    script: "hostname; id -u; id -g; pwd; mount | grep ' / '; cat; touch /here; exit 5",
    user: "www-data",
    stdin: true,
    config: (config) => ({ ...config, hostname: "late", process: { ...config.process, cwd: "/srv/made" } }),
  });
  expect(first.created.prepared).toBe(true);
  await first.start();
  await first.shows("/srv/made");
  const joined = await first.exec({ script: "hostname; grep CapBnd /proc/self/status" });
  expect(joined.stdout).toMatch(/^late\nCapBnd:\s+00000000a80425fb\n$/);
  first.created.stdin?.end("in\n");
  const { end, stdout } = await first.output();
  expect(stdout).toMatch(/^late\n33\n33\n\/srv\/made\noverlay on \/ type overlay .*\nin\n$/);
  expect(end).toMatchObject({ exitCode: 5 });
  await machine.remove(first);
  const second = await machine.start({ script: "ls /here 2>&1; echo second" });
  expect(second.created.prepared).toBe(false);
  expect((await second.output()).stdout).toMatch(/No such file.*\nsecond\n$/s);
  await machine.remove(second);
});

test("another command and variables can be given at the start, to it alone", async () => {
  await using machine = await prepared();
  await rehearse(machine.session);
  const first = await machine.create({ args: ["false"] });
  await startContainer(machine.session, first.id, {
    override: { args: ["sh", "-c", "echo $A $HOME"], env: ["A=b"] },
  });
  expect((await first.output()).stdout).toBe("b /root\n");
  const second = await machine.create({ args: ["true"] });
  const override = { args: ["echo"] };
  await expect(startContainer(machine.session, second.id, { override })).rejects.toMatchObject({
    code: "conflict",
  });
});

describe("it is left alone by a container with", () => {
  test.each(
    rows<[string, ContainerChange]>(
      [
        ["a terminal", { terminal: true }],
        ["other capabilities", { config: (config) => without(config, "CAP_CHOWN") }],
      ],
      [
        ["an init", { init: true }],
        ["a volume", { volumes: [{ path: "/data", readonly: false, seed: false }] }],
        [
          "another mask",
          { config: (config) => ({ ...config, linux: { ...config.linux, maskedPaths: [] } }) },
        ],
      ],
    ),
  )("%s", async (_, change) => {
    await using machine = await prepared();
    const container = await machine.start({ script: "echo made", ...change });
    expect(container.created.prepared).toBe(false);
    expect((await container.output()).stdout).toMatch(/^made\r?\n$/);
    const next = await machine.start({ script: "echo still" });
    expect(next.created.prepared).toBe(true);
    expect((await next.output()).stdout).toBe("still\n");
  });
});

test("other limits are its cgroup's then", async () => {
  await using machine = await prepared();
  const resources = { memory: { limit: 64 << 20, swap: 64 << 20 }, pids: { limit: 20 } };
  const container = await machine.start({
    script: "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max",
    config: (config) => ({
      ...config,
      linux: { ...config.linux, resources: { ...config.linux.resources, ...resources } },
    }),
  });
  expect(container.created.prepared).toBe(true);
  expect((await container.output()).stdout).toBe(`${64 << 20}\n20\n`);
});

test.each<[string, ContainerChange, object]>([
  ["an unknown user", { user: "nobody-knows" }, { code: "user-not-found" }],
  ["an unknown property", { config: (config) => ({ ...config, surprise: 1 }) }, { code: "invalid-config" }],
])("%s is told, and the machine goes on", async (_, change, error) => {
  await using machine = await prepared();
  await expect(machine.create(change)).rejects.toMatchObject(error);
  expect((await machine.run({ script: "echo on" })).stdout).toBe("on\n");
});

test("there is one in a machine, and none beside containers", async () => {
  await using machine = await prepared();
  await expect(prepareContainer(machine.session, request)).rejects.toMatchObject({ code: "conflict" });
});

function without<T extends { readonly process: { readonly capabilities: object } }>(
  config: T,
  name: string,
): T {
  const sets = Object.entries(config.process.capabilities as Record<string, readonly string[]>).map(
    ([set, capabilities]) => [set, capabilities.filter((capability) => capability !== name)],
  );
  return { ...config, process: { ...config.process, capabilities: Object.fromEntries(sets) as object } };
}
