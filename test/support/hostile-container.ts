/** What tests of hostile containers have in common: what a container is given, and what must hold all the same. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { ping, signalContainer } from "../../src/agent/client.ts";
import type { ProcessEnd } from "../../src/agent/protocol/messages.ts";
import type { RuntimeConfig } from "../../src/runtime-spec/config.ts";
import type { AgentMachine, Container } from "./agent-machine.ts";

export const MIB = 1 << 20;
export const KILL = 9;
/** For anything that the agent does at once. Generous: it shares a core with what it is tried with. */
export const PROMPT_MS = 20_000;
export const MAX_AGENT_BYTES = 64 * MIB;

export type Config = (config: RuntimeConfig) => object;

export function limited(resources: object): Config {
  return (config) => ({ ...config, linux: { ...config.linux, resources } });
}

const ALL_CAPABILITIES = [
  "AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH",
  "FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN",
  "NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT",
  "SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM",
].flatMap((line) => line.split(" ").map((name) => `CAP_${name}`));

function withoutFilter({ seccomp: _seccomp, ...linux }: RuntimeConfig["linux"]): RuntimeConfig["linux"] {
  return linux;
}

/** As `--privileged` makes one: every capability, nothing masked, nothing read-only, no filter, all devices. */
export function privileged(resources: object = {}): Config {
  const all = ALL_CAPABILITIES;
  const devices = [{ allow: true, access: "rwm" }];
  return (config) => ({
    ...config,
    process: { ...config.process, capabilities: { bounding: all, effective: all, permitted: all } },
    mounts: config.mounts.map((mount) => ({
      ...mount,
      options: mount.options.filter((option) => option !== "ro"),
    })),
    linux: {
      ...withoutFilter(config.linux),
      maskedPaths: [],
      readonlyPaths: [],
      resources: { devices, ...resources },
    },
  });
}

export async function within<T>(what: string, promise: Promise<T>, ms: number): Promise<T> {
  const late = new AbortController();
  const timer = sleep(ms, undefined, { signal: late.signal }).then(() => {
    throw new Error(`${what} took longer than ${ms / 1000} s`);
  });
  timer.catch(() => {});
  try {
    return await Promise.race([promise, timer]);
  } finally {
    late.abort();
  }
}

/** The agent answers, has not grown, and still runs containers and execs. */
export async function expectAlive(machine: AgentMachine): Promise<void> {
  const { rssBytes } = await ping(machine.session, { deadlineMs: PROMPT_MS });
  expect(rssBytes).toBeLessThan(MAX_AGENT_BYTES);
  const container = await within("a start", machine.start({ args: ["sleep", "1000"] }), PROMPT_MS);
  const { stdout } = await within("an exec", container.exec({ script: "echo alive" }), PROMPT_MS);
  expect(stdout).toBe("alive\n");
  await within("a delete", machine.remove(container), PROMPT_MS);
}

export async function killed(machine: AgentMachine, container: Container): Promise<ProcessEnd> {
  await signalContainer(machine.session, container.id, KILL);
  return await within("the exit", container.exit, 60_000);
}

export async function shows(container: Container, text: string): Promise<void> {
  await within(JSON.stringify(text), container.shows(text), PROMPT_MS);
}
