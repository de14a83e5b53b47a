/** What root's machines are jailed in: users, directories, control groups; and what of the host tells whether they can be. */
import {
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findJailer } from "../../src/machine/firecracker/find-jailer.ts";
import { isMapped, mountOptions } from "../../src/machine/jail/ability.ts";
import { CGROUP_PARENT, collectCgroups, findHierarchy } from "../../src/machine/jail/cgroup.ts";
import { collectJails, makeJail } from "../../src/machine/jail/jail.ts";
import { filesOf, parseLibraries } from "../../src/machine/jail/program-files.ts";
import { MACHINE_GROUP, collectUsers, takeUser } from "../../src/machine/jail/users.ts";
import { placeDisks } from "../../src/machine/qemu/jailed-disks.ts";
import { versionText } from "../../src/machine/probe/remembered.ts";
import { ownedName } from "../../src/util/owned-folder.ts";

const isRoot = process.geteuid?.() === 0;
const DEAD = `${2 ** 22 + 1}.1`;

let dir: string;
beforeEach(async () => (dir = await mkdtemp(join(tmpdir(), "flamebox-jail-"))));
afterEach(async () => await rm(dir, { recursive: true, force: true }));

describe("users of machines", () => {
  it("are each somebody's alone, and free again", async () => {
    const range = { dir: join(dir, "users"), count: 4 };
    const taken = await Promise.all([1, 2, 3, 4].map(async () => await takeUser(range)));
    expect(new Set(taken.map(({ uid }) => uid)).size).toBe(4);
    for (const { uid, gid } of taken) expect([uid > MACHINE_GROUP, gid]).toEqual([true, MACHINE_GROUP]);
    await expect(takeUser(range)).rejects.toMatchObject({ code: "no-machine-user", temporary: true });
    for (const user of taken) await user[Symbol.asyncDispose]();
    expect(await readdir(range.dir)).toEqual([]);
    await using again = await takeUser(range);
    expect(again.uid).toBeGreaterThan(MACHINE_GROUP);
  });

  it("of killed processes are taken over, and those of living ones left alone", async () => {
    const range = { dir: join(dir, "users"), count: 1 };
    const user = await takeUser(range);
    const [name = ""] = await readdir(range.dir);
    await collectUsers(range.dir);
    expect(await readdir(range.dir)).toEqual([name]);
    await user[Symbol.asyncDispose]();
    const dead = { pid: 2 ** 22 + 1, startTicks: 1, bootId: "x", token: "0123456789abcdef" };
    await writeFile(join(range.dir, name), JSON.stringify(dead));
    await (await takeUser(range))[Symbol.asyncDispose]();
    await writeFile(join(range.dir, name), JSON.stringify(dead));
    await collectUsers(range.dir);
    expect(await readdir(range.dir)).toEqual([]);
  });

  it("are not kept where others can write", async () => {
    await mkdir(join(dir, "users"));
    await chmod(join(dir, "users"), 0o777);
    await expect(takeUser({ dir: join(dir, "users"), count: 4 })).rejects.toMatchObject({
      code: "runtime-dir-unsafe",
    });
  });
});

describe("whether machines can be jailed", () => {
  it.each<[string, string, boolean]>([
    ["all users of the host", "         0          0 4294967295\n", true],
    ["those of a container", "0 100000 65536", false],
    ["those of a container, and machines'", "0 100000 65536\n1900000000 1900000000 65537", true],
    ["one too few", "1900000000 0 65536", false],
    ["the wrong ones", "1900000001 0 65537", false],
    ["nothing", "", false],
    ["no numbers", "a b c", false],
  ])("takes %s in the user namespace", (_name, map, expected) => {
    expect(isMapped(map, MACHINE_GROUP, 65_537)).toBe(expected);
  });

  const MOUNTS = [
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw",
    "30 22 0:25 / /run rw,nosuid,nodev,noexec - tmpfs tmpfs rw",
    "31 22 0:26 / /srv/with\\040blank rw,nodev - ext4 /dev/vdb rw",
    "32 22 0:27 / /over rw,nodev - ext4 /dev/vdc rw",
    "33 32 0:28 / /over rw,noatime - ext4 /dev/vdd rw",
    "",
    "no mount",
  ].join("\n");
  it.each<[string, string[]]>([
    ["/root/data", ["rw", "relatime"]],
    ["/run/data", ["rw", "nosuid", "nodev", "noexec"]],
    ["/run", ["rw", "nosuid", "nodev", "noexec"]],
    ["/running", ["rw", "relatime"]],
    ["/srv/with blank/x", ["rw", "nodev"]],
    ["/over/x", ["rw", "noatime"]],
  ])("depends on the mount that %s is on", (path, expected) => {
    expect(mountOptions(MOUNTS, path)).toEqual(expected);
  });
});

describe("what a program needs to be there", () => {
  it("is nothing for a static one", async () => {
    expect(await filesOf("/bin/busybox")).toEqual([]);
  });

  it("is its linker and its libraries for another", async () => {
    const files = await filesOf(process.execPath);
    expect(files[0]).toMatch(/\/ld-linux/);
    expect(files.some((path) => /\/libc\.so/.test(path))).toBe(true);
    for (const path of files) expect((await stat(path)).isFile()).toBe(true);
  });

  it.each<[string, string, string[]]>([
    [
      "what ld.so prints",
      "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f00)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f01)\n",
      ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"],
    ],
    ["a library that is not found", "\tlibx.so => not found\n", []],
    ["nothing", "", []],
    ["relative names", "\tlibx.so => ./libx.so (0x1)\n", []],
  ])("is read from %s", (_name, text, expected) => {
    expect(parseLibraries(text)).toEqual(expected);
  });

  it.each<[string, Buffer]>([
    ["an empty file", Buffer.alloc(0)],
    ["a script", Buffer.from("#!/bin/sh\n".padEnd(100))],
    ["a header alone", Buffer.from("\x7fELF".padEnd(63, "\0"))],
    ["a table behind the end", elf({ phoff: 4_096, phnum: 2 })],
    ["too many headers", elf({ phoff: 64, phnum: 60_000 })],
    ["a linker's name behind the end", elf({ phoff: 64, phnum: 1, interpreter: [4_096, 16] })],
    ["a linker's name without end", elf({ phoff: 64, phnum: 1, interpreter: [0, 2 ** 40] })],
  ])("is refused of %s", async (_name, bytes) => {
    await writeFile(join(dir, "program"), bytes);
    await expect(filesOf(join(dir, "program"))).rejects.toMatchObject({ code: "vmm-missing" });
  });
});

/** The header of an ELF file, and one program header behind it. */
function elf({
  phoff = 64,
  phnum = 1,
  interpreter = [0, 0],
}: Partial<{ phoff: number; phnum: number; interpreter: number[] }>): Buffer {
  const bytes = Buffer.alloc(64 + 56);
  bytes.write("\x7fELF", 0, "latin1");
  bytes.writeBigUInt64LE(BigInt(phoff), 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(phnum, 56);
  bytes.writeUInt32LE(3, 64);
  bytes.writeBigUInt64LE(BigInt(interpreter[0] ?? 0), 64 + 8);
  bytes.writeBigUInt64LE(BigInt(interpreter[1] ?? 0), 64 + 32);
  return bytes;
}

describe("the jailer that belongs to a Firecracker", () => {
  const program = async (name: string, version: string): Promise<string> => {
    await writeFile(join(dir, name), `#!/bin/sh\necho "${version}"\n`, { mode: 0o755 });
    return join(dir, name);
  };
  const search = async (firecracker: string, jailer?: string) =>
    await findJailer({ paths: { dataDir: join(dir, "data"), runtimeDir: dir }, firecracker, jailer });

  it.each([
    ["firecracker", "jailer"],
    ["firecracker-v1.16.1-x86_64", "jailer-v1.16.1-x86_64"],
  ])("is beside %s", async (firecracker, jailer) => {
    const path = await program(jailer, "Jailer v1.16.1");
    expect(await search(await program(firecracker, "Firecracker v1.16.1"))).toEqual({ program: path });
  });

  it("is the one that is named, and of the same version", async () => {
    const firecracker = await program("firecracker", "Firecracker v1.16.1");
    await program("jailer", "Jailer v1.16.1");
    const old = await program("old", "Jailer v1.15.0");
    expect(await search(firecracker, old)).toEqual({
      problem: `the jailer ${old} has version 1.15.0, Firecracker 1.16.1`,
    });
  });

  it("is asked for its version once, and again when it is another", async () => {
    const paths = { dataDir: join(dir, "data"), runtimeDir: dir };
    const path = await program("jailer", "Jailer v1.16.1");
    expect(await versionText(path, { paths })).toBe("Jailer v1.16.1\n");
    const [name = ""] = await readdir(join(dir, "data", "probe"));
    await chmod(path, 0o600);
    expect(await versionText(path, { paths })).toBe("Jailer v1.16.1\n");
    await writeFile(join(dir, "data", "probe", name), "{");
    await rm(path);
    await program("jailer", "Jailer v1.17.0");
    expect(await versionText(path, { paths })).toBe("Jailer v1.17.0\n");
  });
});

describe.runIf(isRoot)("a jail (root's only)", () => {
  it("has links to what is lent, for the machine to read, and to what is given, as its own", async () => {
    const [lent, given] = [join(dir, "lent"), join(dir, "given")];
    for (const path of [lent, given]) await writeFile(path, "x", { mode: 0o600 });
    const jail = await makeJail(dir);
    const names = [await jail.lend(lent), await jail.give(given, "scratch")];
    expect(names).toEqual(["f1", "scratch"]);
    expect(await stat(lent)).toMatchObject({ uid: 0, gid: MACHINE_GROUP, mode: 0o100640, nlink: 2 });
    expect(await stat(given)).toMatchObject({ uid: jail.user.uid, mode: 0o100600, nlink: 2 });
    expect(await stat(jail.dir)).toMatchObject({ uid: jail.user.uid, mode: 0o40700 });
    expect(await stat(jail.outerDir)).toMatchObject({ uid: 0, mode: 0o40700 });
    await jail[Symbol.asyncDispose]();
    expect(await readdir(join(dir, "jails"))).toEqual([]);
    expect(await readFile(lent, "latin1")).toBe("x");
    await expect(jail.lend(lent)).rejects.toMatchObject({ code: "jail-refused" });
  });

  it("has what is lent readable, though others publish the same file again meanwhile", async () => {
    const lent = join(dir, "lent");
    const publish = async (): Promise<void> => {
      await writeFile(`${lent}.new`, "x", { mode: 0o600 });
      await rename(`${lent}.new`, lent);
    };
    await publish();
    await using jail = await makeJail(dir);
    for (let round = 0; round < 300; round++) {
      const publishing = publish();
      const { gid, mode } = await stat(join(jail.dir, await jail.lend(lent)));
      expect({ gid, mode }).toEqual({ gid: MACHINE_GROUP, mode: 0o100640 });
      await publishing;
    }
  });

  it("has a copy of what cannot be linked, for nobody else to read", async () => {
    await using jail = await makeJail(dir);
    // Files of /proc cannot be linked anywhere.
    const name = await jail.lend("/proc/version");
    expect(await stat(join(jail.dir, name))).toMatchObject({ uid: jail.user.uid, mode: 0o100400, nlink: 1 });
    await expect(jail.give("/proc/self/oom_score_adj")).rejects.toMatchObject({ code: "jail-refused" });
  });

  it("is removed when nobody puts anything into it any more", async () => {
    const lent = join(dir, "lent");
    await writeFile(lent, "x");
    for (let round = 0; round < 20; round++) {
      const jail = await makeJail(dir);
      const lending = Promise.allSettled(Array.from({ length: 20 }, async () => await jail.lend(lent)));
      await jail[Symbol.asyncDispose]();
      await lending;
    }
    expect(await readdir(join(dir, "jails"))).toEqual([]);
  });

  it("of a killed process is collected, and that of a living one is not", async () => {
    await using jail = await makeJail(dir);
    await mkdir(join(dir, "jails", `jail.${DEAD}.0a`, "root"), { recursive: true });
    await mkdir(join(dir, "jails", "something else"));
    await collectJails(dir);
    const left = new Set(await readdir(join(dir, "jails")));
    expect(left).toEqual(new Set([basename(jail.outerDir), "something else"]));
  });

  it("has disks that are joined of several files under their names there", async () => {
    for (const name of ["metadata", "blob a", "scratch", "below"]) await writeFile(join(dir, name), name);
    const description = `# Disk\nRW 8 FLAT "metadata" 0\nRW 4 FLAT "./blob a" 0\nRW 4 FLAT "./blob a" 4\n\nddb.x = "1"\n`;
    await writeFile(join(dir, "disk.vmdk"), description);
    await using jail = await makeJail(dir);
    const disks = await placeDisks(jail, {
      base: { path: join(dir, "disk.vmdk"), format: "vmdk" },
      scratch: { path: join(dir, "scratch"), format: "qcow2", backingPath: join(dir, "below") },
    });
    expect(disks).toEqual({
      base: { path: "/base.vmdk", format: "vmdk" },
      scratch: { path: "/f4", format: "qcow2", backingPath: "/f3" },
    });
    expect(await readFile(join(jail.dir, "base.vmdk"), "latin1")).toBe(
      `# Disk\nRW 8 FLAT "f1" 0\nRW 4 FLAT "f2" 0\nRW 4 FLAT "f2" 4\n\nddb.x = "1"\n`,
    );
    expect(await readFile(join(jail.dir, "f2"), "latin1")).toBe("blob a");
  });

  it("leaves no control group of a killed process", async ({ skip }) => {
    const hierarchy = await findHierarchy();
    skip(hierarchy === undefined, "no control group can be made here");
    const parent = join(hierarchy?.dir ?? "", CGROUP_PARENT);
    const [dead, living] = [`fb-${DEAD.replace(".", "-")}-0a`, ownedName("fb").replaceAll(".", "-")];
    for (const name of [dead, living]) await mkdir(join(parent, name));
    await collectCgroups();
    const left = await readdir(parent);
    await rmdir(join(parent, living));
    await rmdir(parent).catch(() => {});
    expect([left.includes(dead), left.includes(living)]).toEqual([false, true]);
  });
});
