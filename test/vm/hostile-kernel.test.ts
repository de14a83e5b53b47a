/**
 * Containers that use up what the kernel has for all of the machine, or hold up whoever looks into them. Root in a
 * container is the agent's own user, so whatever is counted by user is shared with it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { execInContainer, ping } from "../../src/agent/client.ts";
import type { AgentMachine, Container } from "../support/agent-machine.ts";
import { startAgentMachine } from "../support/agent-machine.ts";
import {
  expectAlive,
  KILL,
  killed,
  limited,
  MIB,
  privileged,
  PROMPT_MS,
  shows,
  within,
} from "../support/hostile-container.ts";
import type { Config } from "../support/hostile-container.ts";

const debian = `${inject("registry")}/flamebox/debian:12`;
const busybox = `${inject("registry")}/flamebox/busybox:1`;
const alive = { script: "echo alive" };

/** In Python: as many as there are to be had, then "go", then nothing more. */
function hoard(take: string, before = ""): string {
  return [
    "import ctypes, os, select, time",
    before,
    "try:",
    `    ${take}`,
    "except OSError as error: print(error.errno, flush=True)",
    "print('go', flush=True)",
    "time.sleep(1000)",
  ].join("\n");
}

const WATCHES = hoard(
  "while count < most: watches.append(select.epoll()); [watches[-1].register(end) for end in ends]; count += len(ends)",
  [
    "ends, watches, count = [os.pipe()[0] for _ in range(400)], [], 0",
    // The kernel's own limit, by memory, is well below.
    "most = 250000",
  ].join("\n"),
);
/** A file system over /etc whose server takes no question. */
const MUTE_ETC = hoard(
  "assert ctypes.CDLL(None).mount(b'x', b'/etc', b'fuse', 0, b'fd=%d,rootmode=40000,user_id=0,group_id=0' % server) == 0",
  "os.mknod('/tmp/fuse', 0o20666, os.makedev(10, 229)); server = os.open('/tmp/fuse', os.O_RDWR)",
);

describe("a container that", () => {
  let machine: AgentMachine;

  beforeAll(async () => {
    machine = await startAgentMachine(debian, { memoryMib: 512 });
  });
  afterEach(async () => await expectAlive(machine));
  afterAll(async () => await machine[Symbol.asyncDispose]());

  async function hoarding(script: string, config: Config): Promise<Container> {
    const container = await machine.start({ args: ["python3", "-c", script], config });
    await within("the hoard", Promise.race([container.shows("go\n"), container.exit]), 120_000);
    return container;
  }

  async function end(container: Container): Promise<void> {
    expect(await killed(machine, container)).toMatchObject({ signal: KILL });
    await within("the delete", machine.remove(container), PROMPT_MS);
  }

  test.each<[name: string, script: string, config: Config]>([
    ["waits for a quarter of a million descriptors", WATCHES, limited({})],
    [
      "has all processes that it may have, and reaps none",
      hoard("while True: os.fork() or os._exit(0)"),
      limited({ pids: { limit: 64 } }),
    ],
    [
      "queues signals until there is no room for its user",
      hoard(
        "while ctypes.CDLL(None).sigqueue(os.getpid(), 40, 0) == 0: pass",
        "ctypes.CDLL(None).sigprocmask(0, ctypes.byref((ctypes.c_ulong * 16)(*[2 ** 64 - 1] * 16)), None)",
      ),
      limited({}),
    ],
  ])("%s can be entered and ended", async (_name, script, config) => {
    const container = await hoarding(script, config);
    expect((await within("an exec", container.exec(alive), PROMPT_MS)).stdout).toBe("alive\n");
    await end(container);
  });

  test("takes all terminals is entered without one", async () => {
    const container = await hoarding(hoard("while True: os.open('/dev/ptmx', os.O_RDWR)"), limited({}));
    await expect(container.exec({ ...alive, terminal: true })).rejects.toMatchObject({
      code: "failed",
      message: expect.stringContaining("/dev/pts/ptmx") as string,
    });
    expect((await container.exec(alive)).stdout).toBe("alive\n");
    await end(container);
  });

  test("never answers whoever looks for its users can be ended, and what waits for it", async () => {
    const container = await hoarding(MUTE_ETC, privileged());
    const process = { args: ["true"], cwd: "/", env: [] };
    const request = {
      id: container.id,
      exec: "held-up",
      process,
      user: "www-data",
      stdin: false,
      terminal: false,
    };
    const impatient = AbortSignal.timeout(2_000);
    await expect(
      within("the exec", execInContainer(machine.session, request, { signal: impatient }), PROMPT_MS),
    ).rejects.toThrow("aborted due to timeout");
    await ping(machine.session, { deadlineMs: PROMPT_MS });
    await end(container);
  });
});

test("a privileged container that forbids the agent to wait ends as it is told to", async () => {
  await using machine = await startAgentMachine(busybox);
  const script = "echo 1 >/proc/sys/fs/epoll/max_user_watches; echo go; sleep 1000";
  const container = await machine.start({ script, config: privileged() });
  await shows(container, "go\n");
  for (const terminal of [false, true])
    await expect(within("the exec", container.exec({ ...alive, terminal }), PROMPT_MS)).rejects.toMatchObject(
      {
        code: "failed",
        message: expect.stringContaining("wait for the streams") as string,
      },
    );
  await expect(within("the create", machine.create(), PROMPT_MS)).rejects.toMatchObject({ code: "failed" });
  expect(await killed(machine, container)).toMatchObject({ signal: KILL });
  await within("the delete", machine.remove(container), PROMPT_MS);
});

test("a container that leaves no room for another file can still be entered and ended", async () => {
  await using machine = await startAgentMachine(busybox, { storageBytes: 64 * MIB });
  const script = "mkdir /many && cd /many; seq 1 70000 | xargs touch 2>/dev/null; echo go; sleep 1000";
  const container = await machine.start({ script });
  await within("a full disk", container.shows("go\n"), 120_000);
  await sleep(100);
  expect((await container.exec({ script: "touch /other 2>/dev/null || echo full" })).stdout).toBe("full\n");
  expect(await killed(machine, container)).toMatchObject({ signal: KILL });
  await within("the delete", machine.remove(container), PROMPT_MS);
  // What it wrote stays until the machine ends, so another container finds no room either; the agent needs none.
  await ping(machine.session, { deadlineMs: PROMPT_MS });
});
