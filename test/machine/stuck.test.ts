/** A machine that QEMU has halted for good ends, with the reason; one that was paused does not. */
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { qemuDriver } from "../../src/machine/qemu/qemu.ts";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-stuck-"));
});
afterAll(async () => await rm(dir, { recursive: true }));

/** What speaks QMP on descriptor 3, tells of a STOP once somebody listens, and has `status` from then on. */
async function vmmWith(status: string): Promise<string> {
  const program = join(dir, `qemu-${status}`);
  const script = `#!${process.execPath}
const { Socket } = require("node:net");
const qmp = new Socket({ fd: 3 });
const say = (message) => qmp.write(JSON.stringify(message) + "\\n");
say({ QMP: { version: {}, capabilities: [] } });
qmp.on("data", (text) => {
  for (const line of String(text).split("\\n").filter((line) => line !== "")) {
    const { execute } = JSON.parse(line);
    say({ return: execute === "query-status" ? { running: false, status: ${JSON.stringify(status)} } : {} });
    if (execute === "qmp_capabilities") say({ event: "STOP", timestamp: { seconds: 1, microseconds: 0 } });
  }
});
`;
  await writeFile(program, script);
  await chmod(program, 0o755);
  return program;
}

async function started(status: string) {
  const driver = qemuDriver({ acceleration: "tcg", program: await vmmWith(status) });
  const boot = { kernelPath: join(dir, "vmlinuz"), initramfsPath: join(dir, "initramfs") };
  return await driver.start({ boot, cpus: 1, memoryMib: 128, disks: {} });
}

test.each([
  ["internal-error", "KVM cannot carry out what the guest does"],
  ["io-error", "a disk of the machine cannot be read or written on this host, which may be full"],
  ["guest-panicked", "the guest's kernel panicked"],
])("%s", async (status, reason) => {
  await using machine = await started(status);
  expect(await machine.exited).toEqual({ code: null, signal: "SIGKILL" });
  expect(machine.diagnostics().stderr).toContain(reason);
});

test.each(["paused", "postmigrate", "prelaunch", "an unknown one"])("%s", async (status) => {
  await using machine = await started(status);
  const ended = machine.exited.then(() => "ended");
  expect(await Promise.race([ended, sleep(1_000, "goes on")])).toBe("goes on");
  expect(machine.diagnostics().stderr).toBe("");
});
