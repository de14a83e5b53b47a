/**
 * A guest that is after the host: names that lead elsewhere, files that change under it, requests that no kernel
 * would make. Whatever it says, nothing outside the share is read or changed.
 */
import {
  constants as files,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { chmodSync, chownSync, existsSync, lstatSync, readdirSync, renameSync, statSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { rename, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import * as fuse from "../../src/share/fuse/format.ts";
import { Opcode, ROOT_ID, SetAttribute } from "../../src/share/fuse/format.ts";
import { Share } from "../../src/share/share.ts";
import { Client, encode, text } from "./client.ts";

const SECRET = "what no guest may see";
let place: string;
let dir: string;
let outside: string;
let client: Client;

beforeEach(async () => {
  place = mkdtempSync(join(tmpdir(), "flamebox-share-"));
  dir = join(place, "share");
  outside = join(place, "outside");
  for (const each of [dir, outside, join(outside, "sub")]) mkdirSync(each);
  writeFileSync(join(outside, "secret"), SECRET, { mode: 0o600 });
  client = await Client.open(dir);
});
afterEach(async () => {
  await client[Symbol.asyncDispose]();
  const now = [...snapshot(), readFileSync(join(outside, "secret"), "utf8")].join();
  if (now !== `secret 600,sub 755,${SECRET}`) throw new Error(`outside is not as it was: ${now}`);
  rmSync(place, { recursive: true, force: true });
});

function snapshot(): string[] {
  const mode = (name: string): string => (lstatSync(join(outside, name)).mode & 0o7777).toString(8);
  return readdirSync(outside).map((name) => `${name} ${mode(name)}`);
}

const NAMES: readonly (readonly [string, Buffer, string])[] = [
  ["nothing", Buffer.alloc(0), "EINVAL"],
  ["itself", Buffer.from("."), "EINVAL"],
  ["the parent", Buffer.from(".."), "EINVAL"],
  ["a path", Buffer.from("a/b"), "EINVAL"],
  ["a path up", Buffer.from("../outside"), "EINVAL"],
  ["an absolute path", Buffer.from("/etc/passwd"), "EINVAL"],
  ["a slash at the end", Buffer.from("a/"), "EINVAL"],
  ["256 bytes", Buffer.alloc(256, "n"), "ENAMETOOLONG"],
];

describe("names that are not one step below a directory", () => {
  /** Every request with a name, and where in it the name is. */
  const requests: readonly (readonly [string, number, (name: Buffer) => Buffer])[] = [
    ["LOOKUP", Opcode.lookup, (name) => text(name)],
    [
      "CREATE",
      Opcode.create,
      (name) => encode(fuse.CREATE_IN, { flags: files.O_RDWR, mode: 0o100644 }, text(name)),
    ],
    ["MKNOD", Opcode.mknod, (name) => encode(fuse.MKNOD_IN, { mode: 0o100644 }, text(name))],
    ["MKDIR", Opcode.mkdir, (name) => encode(fuse.MKDIR_IN, { mode: 0o755 }, text(name))],
    ["SYMLINK", Opcode.symlink, (name) => Buffer.concat([text(name), text("target")])],
    ["UNLINK", Opcode.unlink, (name) => text(name)],
    ["RMDIR", Opcode.rmdir, (name) => text(name)],
    [
      "RENAME from",
      Opcode.rename,
      (name) => encode(fuse.RENAME_IN, { newdir: 1 }, Buffer.concat([text(name), text("x")])),
    ],
    [
      "RENAME to",
      Opcode.rename,
      (name) => encode(fuse.RENAME_IN, { newdir: 1 }, Buffer.concat([text("f"), text(name)])),
    ],
    [
      "RENAME2 to",
      Opcode.rename2,
      (name) => encode(fuse.RENAME2_IN, { newdir: 1 }, Buffer.concat([text("f"), text(name)])),
    ],
  ];
  test.each(requests)("%s", async (_name, opcode, body) => {
    writeFileSync(join(dir, "f"), "");
    for (const [what, name, code] of NAMES)
      await expect(client.call(opcode, ROOT_ID, body(name)), what).rejects.toMatchObject({ code });
    expect(readdirSync(dir)).toEqual(["f"]);
  });

  test("LINK", async () => {
    const { id } = await client.create(ROOT_ID, "f");
    for (const [what, name, code] of NAMES) {
      const call = client.call(Opcode.link, ROOT_ID, encode(fuse.LINK_IN, { oldnodeid: id }, text(name)));
      await expect(call, what).rejects.toMatchObject({ code });
    }
  });

  test("with a NUL inside, or without one at the end", async () => {
    for (const body of [Buffer.from("a\0b\0"), Buffer.from("a"), Buffer.alloc(0), Buffer.from("a\0\0")])
      await expect(client.call(Opcode.lookup, ROOT_ID, body)).rejects.toMatchObject({ code: "EINVAL" });
  });
});

describe("symbolic links", () => {
  test("are links to the guest, wherever they lead, and never walked through", async () => {
    for (const [name, target] of [
      ["absolute", join(outside, "secret")],
      ["relative", "../outside/secret"],
      ["directory", outside],
      ["root", "/"],
      ["self", "/proc/self/root"],
      ["dangling", "/nonexistent/place"],
    ] as const) {
      symlinkSync(target, join(dir, name));
      const { id, mode } = await client.walk(name);
      expect(mode & files.S_IFMT, name).toBe(files.S_IFLNK);
      expect((await client.call(Opcode.readlink, id)).toString(), name).toBe(target);
      await expect(client.open(id), name).rejects.toMatchObject({ code: "ELOOP" });
      await expect(client.lookUp(id, "secret"), name).rejects.toMatchObject({ code: "ENOTDIR" });
      await expect(client.create(id, "made"), name).rejects.toMatchObject({ code: "ENOTDIR" });
      await expect(client.openDirectory(id), name).rejects.toMatchObject({ code: "ENOTDIR" });
      await expect(client.create(ROOT_ID, name), name).rejects.toMatchObject({ code: "ELOOP" });
      await expect(client.change(id, { valid: SetAttribute.size, size: 0 }), name).rejects.toMatchObject({
        code: "EINVAL",
      });
      await expect(client.change(id, { valid: SetAttribute.mode, mode: 0o777 }), name).rejects.toMatchObject({
        code: "EOPNOTSUPP",
      });
      await client.change(id, { valid: SetAttribute.mtime, mtime: 1 });
      expect(lstatSync(join(dir, name)).mtimeMs, "the link's own time").toBe(1000);
    }
    expect(statSync(join(outside, "secret")).mtimeMs).toBeGreaterThan(1000);
  });

  test("are made as the guest says, and removed and moved as themselves", async () => {
    const target = join(outside, "secret");
    await client.call(Opcode.symlink, ROOT_ID, Buffer.concat([text("l"), text(target)]));
    await client.rename(ROOT_ID, "l", ROOT_ID, "m");
    const { id } = await client.walk("m");
    await client.call(Opcode.link, ROOT_ID, encode(fuse.LINK_IN, { oldnodeid: id }, text("n")));
    expect(lstatSync(join(dir, "n")).isSymbolicLink()).toBe(true);
    for (const name of ["m", "n"]) await client.call(Opcode.unlink, ROOT_ID, text(name));
    expect(readdirSync(dir)).toEqual([]);
    const long = Buffer.concat([text("long"), text("x".repeat(4096))]);
    await expect(client.call(Opcode.symlink, ROOT_ID, long)).rejects.toMatchObject({ code: "ENAMETOOLONG" });
  });

  test("in the place of a directory that the guest knows lead it nowhere else", async () => {
    mkdirSync(join(dir, "d"));
    writeFileSync(join(dir, "d", "secret"), "inside");
    const { id } = await client.walk("d");
    renameSync(join(dir, "d"), join(dir, "was-d"));
    symlinkSync(outside, join(dir, "d"));
    const fh = await client.open((await client.lookUp(id, "secret")).id);
    expect((await client.read(fh)).toString()).toBe("inside");
    await client.create(id, "made");
    expect(readdirSync(join(dir, "was-d")).sort()).toEqual(["made", "secret"]);
    await expect(client.walk("d/secret")).rejects.toMatchObject({ code: "ENOTDIR" });
  });

  test("swapped with directories as fast as possible", async () => {
    mkdirSync(join(dir, "a"));
    mkdirSync(join(dir, "a", "sub"));
    writeFileSync(join(dir, "a", "secret"), "inside");
    symlinkSync(outside, join(dir, "b"));
    // Small tables, so that most of the nodes have to be found again by their names.
    await using small = await Client.open(dir, { limits: { nodes: 8, descriptors: 1, handles: 64 } });
    const swapping = { goesOn: true };
    const swaps = (async () => {
      for (let n = 0; swapping.goesOn; n++) {
        await rename(join(dir, "a"), join(dir, `t${n}`));
        await rename(join(dir, "b"), join(dir, "a"));
        await rename(join(dir, `t${n}`), join(dir, "b"));
      }
    })();
    const seen = new Map<string, number>();
    const attempt = async (n: number): Promise<string> => {
      const at = await small.lookUp(ROOT_ID, "a");
      const kind = n % 3;
      if (kind === 0) {
        const fh = await small.open((await small.lookUp(at.id, "secret")).id);
        const bytes = await small.read(fh);
        await small.release(fh);
        return `read ${bytes.toString()}`;
      }
      if (kind === 1) return await small.makeDirectory(at.id, `made-${n}`).then(() => "made");
      return await small.call(Opcode.rmdir, at.id, text(`made-${n - 1}`)).then(() => "removed");
    };
    for (let n = 0; n < 1_500; n++) {
      const outcome = await attempt(n).catch((error: Error) => error.message);
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
    }
    swapping.goesOn = false;
    await swaps;
    expect(seen.get("read inside") ?? 0, JSON.stringify([...seen])).toBeGreaterThan(0);
    expect([...seen.keys()].join()).not.toContain(SECRET);
  });
});

describe("what is no plain file or directory", () => {
  test.each([
    ["a FIFO", files.S_IFIFO],
    ["a socket", 0o140000],
    ["a character device", files.S_IFCHR],
    ["a block device", files.S_IFBLK],
    ["no kind at all", 0],
    ["a directory", files.S_IFDIR],
  ])("%s cannot be made", async (_name, kind) => {
    await expect(client.makeNode(ROOT_ID, "n", kind | 0o666)).rejects.toMatchObject({ code: "EPERM" });
    expect(readdirSync(dir)).toEqual([]);
  });

  test("a FIFO that is there is not opened, nor waited for", async () => {
    execFileSync("mkfifo", [join(dir, "p")]);
    const { id, mode } = await client.walk("p");
    expect(mode & files.S_IFMT).toBe(files.S_IFIFO);
    for (const flags of [files.O_RDONLY, files.O_WRONLY, files.O_RDWR])
      await expect(client.open(id, flags)).rejects.toMatchObject({ code: "ENXIO" });
    await expect(client.create(ROOT_ID, "p")).rejects.toMatchObject({ code: "ENXIO" });
    await expect(client.change(id, { valid: SetAttribute.size, size: 0 })).rejects.toMatchObject({
      code: "EINVAL",
    });
  });
});

describe("rights", () => {
  test("set-user-id and set-group-id bits never reach the host", async () => {
    const { id } = await client.create(ROOT_ID, "f", { mode: 0o6755 });
    await client.makeNode(ROOT_ID, "n", files.S_IFREG | 0o6755);
    const sub = await client.makeDirectory(ROOT_ID, "d", 0o7777);
    await client.change(id, { valid: SetAttribute.mode, mode: 0o106755 });
    await client.change(sub.id, { valid: SetAttribute.mode, mode: 0o47777 });
    expect(["f", "n", "d"].map((name) => statSync(join(dir, name)).mode & 0o7777)).toEqual([
      0o755, 0o755, 0o1777,
    ]);
  });

  test("a program with such a bit loses it before the guest can write into it", async () => {
    for (const [name, use] of [
      ["written", async (id: number) => void (await client.open(id, files.O_WRONLY))],
      ["cut", async (id: number) => void (await client.change(id, { valid: SetAttribute.size, size: 0 }))],
      ["opened by name", async () => void (await client.create(ROOT_ID, "opened by name"))],
    ] as const) {
      writeFileSync(join(dir, name), "program");
      chmodSync(join(dir, name), 0o6755);
      const { id } = await client.walk(name);
      await client.release(await client.open(id));
      expect(statSync(join(dir, name)).mode & 0o7777, `${name}, only read`).toBe(0o6755);
      await use(id);
      expect(statSync(join(dir, name)).mode & 0o7777, name).toBe(0o755);
    }
  });

  test.skipIf(process.getuid?.() !== 0)("of root: new files belong to whoever asked for them", async () => {
    client.uid = 1234;
    client.gid = 2345;
    await client.create(ROOT_ID, "f");
    await client.makeDirectory(ROOT_ID, "d");
    await client.call(Opcode.symlink, ROOT_ID, Buffer.concat([text("l"), text(join(outside, "secret"))]));
    for (const name of ["f", "d", "l"])
      expect(lstatSync(join(dir, name)), name).toMatchObject({ uid: 1234, gid: 2345 });
    expect(statSync(join(outside, "secret"))).toMatchObject({ uid: 0, gid: 0 });
  });

  test.skipIf(process.getuid?.() !== 0)(
    "of anybody else: what the user may not, the guest may not",
    async () => {
      for (const each of [place, dir]) chownSync(each, 65_534, 65_534);
      writeFileSync(join(dir, "of-root"), "x", { mode: 0o600 });
      writeFileSync(join(dir, "mine"), "x", { mode: 0o644 });
      chownSync(join(dir, "mine"), 65_534, 65_534);
      process.setegid?.(65_534);
      process.seteuid?.(65_534);
      try {
        await using guest = await Client.open(dir);
        guest.uid = 0;
        const { id } = await guest.walk("of-root");
        await expect(guest.open(id)).rejects.toMatchObject({ code: "EACCES" });
        await expect(guest.change(id, { valid: SetAttribute.mode, mode: 0o777 })).rejects.toMatchObject({
          code: "EPERM",
        });
        const mine = await guest.walk("mine");
        const give = (uid: number) =>
          guest.change(mine.id, { valid: SetAttribute.uid | SetAttribute.gid, uid, gid: 65_534 });
        await expect(give(0)).rejects.toMatchObject({ code: "EPERM" });
        expect(await give(65_534)).toMatchObject({ uid: 65_534 });
        await guest.create(ROOT_ID, "made");
      } finally {
        process.seteuid?.(0);
        process.setegid?.(0);
      }
      expect(statSync(join(dir, "made"))).toMatchObject({ uid: 65_534, gid: 65_534 });
      await expect(Share.open(join(outside, "secret", "x"), { readonly: true })).rejects.toMatchObject({
        code: "share-source-missing",
      });
    },
  );

  test("a read-only share refuses every change, whatever the guest's kernel lets pass", async () => {
    writeFileSync(join(dir, "f"), "as it was");
    chmodSync(join(dir, "f"), 0o6755);
    mkdirSync(join(dir, "d"));
    await using readonly = await Client.open(dir, { readonly: true });
    const { id } = await readonly.walk("f");
    const reader = await readonly.open(id);
    for (const [name, attempt] of Object.entries({
      CREATE: () => readonly.create(ROOT_ID, "new"),
      "CREATE of what is there": () => readonly.create(ROOT_ID, "f"),
      MKNOD: () => readonly.makeNode(ROOT_ID, "new", 0o100644),
      MKDIR: () => readonly.makeDirectory(ROOT_ID, "new"),
      SYMLINK: () => readonly.call(Opcode.symlink, ROOT_ID, Buffer.concat([text("new"), text("x")])),
      LINK: () => readonly.call(Opcode.link, ROOT_ID, encode(fuse.LINK_IN, { oldnodeid: id }, text("new"))),
      UNLINK: () => readonly.call(Opcode.unlink, ROOT_ID, text("f")),
      RMDIR: () => readonly.call(Opcode.rmdir, ROOT_ID, text("d")),
      RENAME: () => readonly.rename(ROOT_ID, "f", ROOT_ID, "new"),
      SETATTR: () => readonly.change(id, { valid: SetAttribute.size, size: 0 }),
      "SETATTR of the mode": () => readonly.change(id, { valid: SetAttribute.mode, mode: 0o777 }),
      WRITE: () => readonly.write(reader, "new"),
      "OPEN to write": () => readonly.open(id, files.O_WRONLY),
      "OPEN to read and write": () => readonly.open(id, files.O_RDWR),
    }))
      await expect(attempt(), name).rejects.toMatchObject({ code: "EROFS" });
    await readonly.open(id, files.O_RDONLY | files.O_TRUNC);
    expect((await readonly.read(reader)).toString()).toBe("as it was");
    expect(statSync(join(dir, "f")).mode & 0o7777).toBe(0o6755);
    expect(readdirSync(dir).sort()).toEqual(["d", "f"]);
  });
});

describe("what cannot be shared", () => {
  test.each([
    ["nothing", "missing", "share-source-missing"],
    ["below a file", "outside/secret/x", "share-source-missing"],
    ["a FIFO", "fifo", "share-source-unsupported"],
  ])("%s", async (_name, path, code) => {
    execFileSync("mkfifo", [join(place, "fifo")]);
    await expect(Share.open(join(place, path), { readonly: false })).rejects.toMatchObject({
      code,
      hint: expect.stringMatching(/\w/) as string,
    });
    rmSync(join(place, "fifo"));
  });

  test("a link to a directory is the user's own word", async () => {
    await symlink(dir, join(place, "link"));
    await using share = await Share.open(join(place, "link"), { readonly: true });
    expect(share.kind).toBe("directory");
    expect(existsSync(dir)).toBe(true);
    rmSync(join(place, "link"));
  });
});
