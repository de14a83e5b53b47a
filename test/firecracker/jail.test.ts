/** Root's machines: what lies in a jail and whose it is, what bounds it, and that nothing is left of it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, readFile, readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, inject, it } from "vitest";
import { settledConfinement } from "../../src/machine/confinement.ts";
import { CGROUP_PARENT, findHierarchy } from "../../src/machine/jail/cgroup.ts";
import { USERS_DIR } from "../../src/machine/jail/users.ts";
import { startTicksOf } from "../../src/util/liveness.ts";
import { firecrackerHost, isRoot } from "./setup.ts";

const { image, paths } = inject("firecracker");
const jailsDir = join(paths.dataDir, "jails");

async function start() {
  const { driver, boot } = await firecrackerHost();
  const network = { attach: () => {}, mac: "52:54:00:00:00:01" };
  return await driver.start({ boot, cpus: 1, memoryMib: 256, disks: {}, network });
}

/** Of users that only machines have. */
async function machineProcesses(): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    const status = /^\d+$/.test(name) ? await readFile(`/proc/${name}/status`, "latin1").catch(() => "") : "";
    const uid = Number(/^Uid:\t(\d+)/m.exec(status)?.[1] ?? 0);
    if (uid >= 1_900_000_000) found.push(Number(name));
  }
  return found;
}

async function until(condition: () => Promise<boolean>): Promise<boolean> {
  for (let tries = 0; tries < 600; tries++) {
    if (await condition()) return true;
    await sleep(100);
  }
  return false;
}

describe.runIf(isRoot)("a jail (root's only)", () => {
  it("has what the machine may use, for nobody else to read, and the API's socket for its owner", async () => {
    await using machine = await start();
    const { uid } = await settledConfinement(machine.pid, 30_000);
    const [own = ""] = await readdir(jailsDir);
    const root = join(
      jailsDir,
      own,
      "firecracker",
      (await readdir(join(jailsDir, own, "firecracker")))[0] ?? "",
      "root",
    );
    expect(await stat(join(jailsDir, own))).toMatchObject({ uid: 0, mode: 0o40700 });
    expect(await stat(root)).toMatchObject({ uid, mode: 0o40700 });
    expect(await stat(join(root, "api.sock"))).toMatchObject({ uid });
    expect(await stat(join(root, "v.sock"))).toMatchObject({ uid });
    const lent = (await readdir(root)).filter((name) => /^f\d+$/.test(name));
    // The kernel and the initramfs.
    expect(lent).toHaveLength(2);
    for (const name of lent) {
      const { uid: owner, mode, nlink } = await stat(join(root, name));
      expect({ owner, forOthers: mode & 0o007, linked: nlink > 1 }).toEqual({
        owner: 0,
        forOthers: 0,
        linked: true,
      });
    }
  });

  it("is in a control group that bounds its threads, and in a pid namespace", async () => {
    const hierarchy = await findHierarchy();
    if (hierarchy === undefined) throw new Error("no control group can be made here");
    console.log(`control groups of version ${hierarchy.version}`);
    const machine = await start();
    const of = (await readFile(`/proc/${machine.pid}/cgroup`, "latin1")).split("\n");
    const group =
      of.map((line) => line.split(":")[2] ?? "").find((path) => path.includes("/flamebox/")) ?? "";
    const dir = join(hierarchy.dir, CGROUP_PARENT, basename(group));
    expect((await readFile(join(dir, "pids.max"), "latin1")).trim()).toBe("48");
    expect(await readFile(`/proc/${machine.pid}/status`, "latin1")).toMatch(/^NSpid:\t\d+\t2$/m);
    await machine.kill();
    await expect(access(dir)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("is gone with its machine, and its user is free", async () => {
    const machine = await start();
    // Other homes of this host have users of their own.
    const user = String((await settledConfinement(machine.pid, 30_000)).uid);
    expect(await readdir(USERS_DIR)).toContain(user);
    await machine.kill();
    expect(startTicksOf(machine.pid)).toBeUndefined();
    expect(await readdir(jailsDir)).toEqual([]);
    expect(await readdir(USERS_DIR)).not.toContain(user);
  });

  it("is collected by the next command when its owner was killed, with whom its VMM ends", {
    timeout: 600_000,
  }, async () => {
    const main = join(import.meta.dirname, "..", "..", "dist", "cli", "main.js");
    const env = { ...process.env, FLAMEBOX_HOME: dirname(paths.dataDir) };
    const args = [
      "run",
      "--vmm",
      "firecracker",
      "--network",
      "none",
      image,
      "sh",
      "-c",
      "echo up; sleep 600",
    ];
    const owner = spawn(process.execPath, [main, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    owner.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const up = await Promise.race([
      once(owner.stdout, "data").then(String),
      once(owner, "exit").then(() => said),
    ]);
    expect(up).toBe("up\n");
    expect(await machineProcesses()).toHaveLength(1);
    owner.kill("SIGKILL");
    expect(await until(async () => (await machineProcesses()).length === 0)).toBe(true);
    expect(await readdir(jailsDir)).toHaveLength(1);
    const next = spawn(process.execPath, [main, "images", "-q"], { env, stdio: "ignore" });
    expect((await once(next, "exit"))[0]).toBe(0);
    expect([await readdir(jailsDir), await readdir(USERS_DIR)]).toEqual([[], []]);
    const hierarchy = await findHierarchy();
    const groups = await readdir(join(hierarchy?.dir ?? "", CGROUP_PARENT), { withFileTypes: true });
    expect(groups.filter((entry) => entry.isDirectory())).toEqual([]);
  });
});
