import { spawn } from "node:child_process";
import { once } from "node:events";
import { watch } from "node:fs";
import { access, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { collectWorkspaces, createWorkspace } from "../../src/container/workspace.ts";
import { bootId, identityOf, ownIdentity } from "../../src/util/liveness.ts";
import type { Paths } from "../../src/util/paths.ts";

let dir = "";
let paths: Paths;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-workspace-"));
  paths = { dataDir: dir, runtimeDir: dir };
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

const DEAD = { pid: 4_194_304, startTicks: 1, bootId: bootId() };
const names = async (): Promise<string[]> => (await readdir(join(dir, "containers"))).sort();

async function leave(name: string, record?: string): Promise<void> {
  const path = join(dir, "containers", name);
  await mkdir(path, { recursive: true });
  await writeFile(join(path, "scratch.ext4"), "data");
  if (record !== undefined) await writeFile(join(path, "owner.json"), record);
}

describe("a container's workspace", () => {
  it("is there whole, private, and gone when disposed", async () => {
    const workspace = await createWorkspace(paths, "a1");
    expect(await names()).toEqual(["a1"]);
    await access(join(workspace.dir, "owner.json"));
    await workspace[Symbol.asyncDispose]();
    expect(await names()).toEqual([]);
  });
});

it("a workspace can be disposed of twice", async () => {
  const workspace = await createWorkspace(paths, "a1");
  await Promise.all([workspace[Symbol.asyncDispose](), workspace[Symbol.asyncDispose]()]);
  await workspace[Symbol.asyncDispose]();
  expect(await names()).toEqual([]);
});

describe("collecting", () => {
  it("does nothing where there is nothing", async () => {
    await collectWorkspaces(paths, async () => {});
    expect(await readdir(dir)).toEqual([]);
  });

  it.each([
    ["a dead owner's", "dead", JSON.stringify({ owner: DEAD })],
    [
      "one from before the last boot",
      "old",
      JSON.stringify({ owner: { ...ownIdentity(), bootId: "another" } }),
    ],
    [
      "one whose pid is another's now",
      "reused",
      JSON.stringify({ owner: { ...ownIdentity(), startTicks: 1 } }),
    ],
    ["an unfinished one of a dead process", `.new.${DEAD.pid}.1.ab`, undefined],
  ])("removes %s", async (_name, name, record) => {
    await leave(name, record);
    await collectWorkspaces(paths, async () => {});
    expect(await names()).toEqual([]);
  });

  it.each([
    ["a living owner's", "alive", JSON.stringify({ owner: ownIdentity() })],
    [
      "an unfinished one of a living process",
      `.new.${process.pid}.${ownIdentity().startTicks}.ab`,
      undefined,
    ],
    ["what it does not understand", "strange", "{"],
  ])("leaves %s", async (_name, name, record) => {
    await leave(name, record);
    await collectWorkspaces(paths, async () => {});
    expect(await names()).toEqual([name]);
  });

  it("ends the VMM that a dead owner left, and no other process", async () => {
    const vmm = spawn("sleep", ["1000"], { stdio: "ignore" });
    const bystander = spawn("sleep", ["1000"], { stdio: "ignore" });
    try {
      const identity = identityOf(vmm.pid ?? 0);
      const reused = { ...identityOf(bystander.pid ?? 0), startTicks: 1 };
      await leave("left", JSON.stringify({ owner: DEAD, vmm: identity }));
      await leave("reused", JSON.stringify({ owner: DEAD, vmm: reused }));
      const ended = once(vmm, "exit");
      await collectWorkspaces(paths, async () => {});
      expect(await ended).toEqual([null, "SIGKILL"]);
      expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
      expect(await names()).toEqual([]);
    } finally {
      vmm.kill("SIGKILL");
      bystander.kill("SIGKILL");
    }
  });

  it("never leaves a part of one without its owner's record", async () => {
    const workspace = await createWorkspace(paths, "a1");
    const seen = new Set<string>();
    const watcher = watch(join(dir, "containers"), (_event, name) => seen.add(String(name)));
    try {
      await workspace[Symbol.asyncDispose]();
      while (seen.size < 2) await new Promise((resolve) => setImmediate(resolve));
    } finally {
      watcher.close();
    }
    const { pid, startTicks } = ownIdentity();
    // It went by way of the name of an unfinished one of this process's.
    expect([...seen].sort()).toEqual([
      expect.stringMatching(new RegExp(`^\\.new\\.${pid}\\.${startTicks}\\.`)),
      "a1",
    ]);
  });

  it("of several processes at once is no error", async () => {
    for (let n = 0; n < 20; n++) await leave(`dead${n}`, JSON.stringify({ owner: DEAD }));
    await Promise.all([1, 2, 3].map(async () => await collectWorkspaces(paths, async () => {})));
    expect(await names()).toEqual([]);
  });
});
