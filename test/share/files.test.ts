/** What a container's processes do with files of a share, without a kernel between. */
import {
  constants as files,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { chmodSync, linkSync, lstatSync, readdirSync, readlinkSync, renameSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import * as fuse from "../../src/share/fuse/format.ts";
import { Opcode, ROOT_ID, SetAttribute } from "../../src/share/fuse/format.ts";
import { Client, encode, entryOf, text } from "./client.ts";

let dir: string;
let client: Client;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "flamebox-share-"));
  client = await Client.open(dir);
});
afterEach(async () => {
  await client[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

const at = (...names: string[]): string => join(dir, ...names);
const modeOf = (path: string): number => statSync(path).mode & 0o7777;

describe("files", () => {
  test("are made, written, read and appended to", async () => {
    const { id, fh } = await client.create(ROOT_ID, "f", { mode: 0o640 });
    expect(await client.write(fh, "hello world")).toBe(11);
    expect(await client.write(fh, "W", 6)).toBe(1);
    expect((await client.read(fh, 6)).toString()).toBe("World");
    expect((await client.read(fh, 11)).length).toBe(0);
    await client.release(fh);
    expect(readFileSync(at("f"), "utf8")).toBe("hello World");
    expect(modeOf(at("f"))).toBe(0o640);
    const again = await client.open(id, files.O_WRONLY);
    // The guest thinks that the file ends at 3.
    await client.write(again, "!", 3, { flags: files.O_WRONLY | files.O_APPEND });
    // Out of its cache, a page has its place.
    await client.write(again, "J", 0, {
      flags: files.O_WRONLY | files.O_APPEND,
      writeFlags: fuse.WRITE_FROM_CACHE,
    });
    expect(readFileSync(at("f"), "utf8")).toBe("Jello World!");
  });

  test("of 1 MiB pieces come back as they were", async () => {
    const data = Buffer.alloc(3 << 20, "0123456789abcdef-");
    const { fh } = await client.create(ROOT_ID, "big");
    const size = fuse.MAX_DATA_BYTES;
    await Promise.all(
      [0, 1, 2].map(
        async (piece) =>
          await client.write(fh, data.subarray(piece * size, (piece + 1) * size), piece * size),
      ),
    );
    expect(readFileSync(at("big")).equals(data)).toBe(true);
    const pieces = await Promise.all([0, 1, 2].map(async (piece) => await client.read(fh, piece * size)));
    expect(Buffer.concat(pieces).equals(data)).toBe(true);
  });

  test("appends that are made at once do not overwrite each other", async () => {
    const { fh } = await client.create(ROOT_ID, "log");
    await Promise.all(
      Array.from(
        { length: 40 },
        async (_, n) => await client.write(fh, `line ${n}\n`, 0, { flags: files.O_APPEND }),
      ),
    );
    const lines = readFileSync(at("log"), "utf8").trimEnd().split("\n");
    expect(new Set(lines).size).toBe(40);
  });

  test("are opened as asked, and only as asked", async () => {
    writeFileSync(at("f"), "text");
    const { id } = await client.walk("f");
    const reader = await client.open(id);
    await expect(client.write(reader, "x")).rejects.toMatchObject({ code: "EBADF" });
    const writer = await client.open(id, files.O_WRONLY);
    await expect(client.read(writer)).rejects.toMatchObject({ code: "EBADF" });
    const emptied = await client.open(id, files.O_RDWR | files.O_TRUNC);
    expect((await client.read(emptied)).length).toBe(0);
    await client.release(reader);
    await expect(client.read(reader)).rejects.toMatchObject({ code: "EBADF" });
    await expect(client.create(ROOT_ID, "f", { flags: files.O_RDWR | files.O_EXCL })).rejects.toMatchObject({
      code: "EEXIST",
    });
    const { fh } = await client.create(ROOT_ID, "f");
    await client.write(fh, "opened, as it was there");
    expect(readFileSync(at("f"), "utf8")).toBe("opened, as it was there");
  });

  test("may be kept in the guest's cache only when nothing has changed for a while", async () => {
    writeFileSync(at("f"), "1");
    const { id } = await client.walk("f");
    const kept = async (): Promise<boolean> => {
      const body = await client.call(Opcode.open, id, encode(fuse.OPEN_IN, { flags: 0 }));
      return (fuse.OPEN_OUT.decode(body, 0).openFlags & fuse.OPEN_KEEP_CACHE) !== 0;
    };
    expect([await kept(), await kept()], "just written").toEqual([false, false]);
    await new Promise((resolve) => setTimeout(resolve, 2_100));
    expect([await kept(), await kept()], "settled").toEqual([true, true]);
    writeFileSync(at("f"), "2");
    expect(await kept(), "changed").toBe(false);
  });

  test("that were removed while open can still be used", async () => {
    const { id, fh } = await client.create(ROOT_ID, "f");
    await client.call(Opcode.unlink, ROOT_ID, text("f"));
    expect(existsSync(at("f"))).toBe(false);
    await client.write(fh, "still there");
    expect((await client.read(fh)).toString()).toBe("still there");
    expect(await client.attributes(id)).toMatchObject({ nlink: 0, size: 11 });
  });
});

describe("attributes", () => {
  test("are the host's", async () => {
    writeFileSync(at("f"), "12345", { mode: 0o604 });
    utimesSync(at("f"), 1_000_000_000.5, "-3.25");
    linkSync(at("f"), at("g"));
    const stats = statSync(at("f"));
    expect(await client.walk("f")).toMatchObject({
      size: 5,
      mode: 0o100604,
      nlink: 2,
      uid: stats.uid,
      gid: stats.gid,
      ino: BigInt(stats.ino),
      atime: 1_000_000_000,
      atimensec: 500_000_000,
      mtime: -4,
      mtimensec: 750_000_000,
    });
    expect((await client.walk("g")).id).toBe((await client.walk("f")).id);
  });

  test("can be changed", async () => {
    const { id } = await client.create(ROOT_ID, "f");
    expect(await client.change(id, { valid: SetAttribute.mode, mode: 0o100400 })).toMatchObject({
      mode: 0o100400,
    });
    expect(await client.change(id, { valid: SetAttribute.size, size: 7 })).toMatchObject({ size: 7 });
    const times = {
      valid: SetAttribute.mtime | SetAttribute.atime,
      mtime: 1_234_567_890,
      mtimensec: 250_000_000,
      atime: 5,
    };
    expect(await client.change(id, times)).toMatchObject({
      mtime: 1_234_567_890,
      mtimensec: 250_000_000,
      atime: 5,
    });
    expect(statSync(at("f")).mtimeMs).toBe(1_234_567_890_250);
    const now = Math.floor(Date.now() / 1000);
    const touched = await client.change(id, { valid: SetAttribute.mtime | SetAttribute.mtimeNow });
    expect(touched.mtime).toBeGreaterThanOrEqual(now);
    expect(touched.atime).toBe(5);
    const before1970 = { valid: SetAttribute.mtime, mtime: -4, mtimensec: 750_000_000 };
    expect(await client.change(id, before1970)).toMatchObject({ mtime: -4, mtimensec: 750_000_000 });
    const absurd = client.change(id, { valid: SetAttribute.mtime, mtime: 2 ** 50 });
    await expect(absurd).rejects.toMatchObject({ code: "EINVAL" });
  });

  test("are what was asked for, whatever this process's umask", async () => {
    const before = process.umask(0o077);
    try {
      const { fh } = await client.create(ROOT_ID, "f", { mode: 0o666 });
      await client.makeDirectory(ROOT_ID, "d", 0o1777);
      await client.makeNode(ROOT_ID, "n", files.S_IFREG | 0o755);
      expect(fh).toBeGreaterThan(0);
    } finally {
      process.umask(before);
    }
    expect(["f", "d", "n"].map((name) => modeOf(at(name)))).toEqual([0o666, 0o1777, 0o755]);
  });

  test("of the file system are told", async () => {
    const body = await client.call(Opcode.statfs, ROOT_ID);
    expect(fuse.STATFS_OUT.decode(body, 0)).toMatchObject({
      namelen: 255,
      bsize: expect.any(Number) as number,
    });
  });
});

describe("names", () => {
  test("need not be text", async () => {
    const odd = Buffer.from([0xff, 0xfe, 0x41, 0x0a, 0x22]);
    const { fh } = await client.create(ROOT_ID, odd);
    await client.write(fh, "x");
    expect(readdirSync(dir, { encoding: "buffer" })).toEqual([odd]);
    expect((await client.list(ROOT_ID)).map(({ name }) => name)).toEqual([".", "..", odd.toString("latin1")]);
    expect((await client.lookUp(ROOT_ID, odd)).size).toBe(1);
  });

  test("are made, linked, moved and removed", async () => {
    const sub = await client.makeDirectory(ROOT_ID, "sub");
    const file = await client.create(ROOT_ID, "f");
    await client.write(file.fh, "x");
    const linked = entryOf(
      await client.call(Opcode.link, sub.id, encode(fuse.LINK_IN, { oldnodeid: file.id }, text("g"))),
    );
    expect(linked).toMatchObject({ id: file.id, nlink: 2 });
    await client.rename(ROOT_ID, "f", sub.id, "h");
    expect(readdirSync(at("sub")).sort()).toEqual(["g", "h"]);
    await client.rename(ROOT_ID, "sub", ROOT_ID, "moved");
    expect((await client.lookUp(sub.id, "h")).id).toBe(file.id);
    await expect(client.call(Opcode.rmdir, ROOT_ID, text("moved"))).rejects.toMatchObject({
      code: "ENOTEMPTY",
    });
    await client.call(Opcode.unlink, sub.id, text("g"));
    await client.call(Opcode.unlink, sub.id, text("h"));
    await client.call(Opcode.rmdir, ROOT_ID, text("moved"));
    expect(readdirSync(dir)).toEqual([]);
    await expect(client.walk("moved")).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("a moved file is linked and read from where it is", async () => {
    const link = entryOf(
      await client.call(Opcode.symlink, ROOT_ID, Buffer.concat([text("l"), text("target")])),
    );
    const file = await client.create(ROOT_ID, "f");
    const sub = await client.makeDirectory(ROOT_ID, "sub");
    await client.rename(ROOT_ID, "l", sub.id, "l2");
    await client.rename(ROOT_ID, "f", sub.id, "f2");
    expect((await client.call(Opcode.readlink, link.id)).toString()).toBe("target");
    await client.call(Opcode.link, ROOT_ID, encode(fuse.LINK_IN, { oldnodeid: file.id }, text("again")));
    expect(statSync(at("again")).ino).toBe(statSync(at("sub", "f2")).ino);
  });

  test("renames with flags are left to what the guest does without", async () => {
    await client.create(ROOT_ID, "a");
    const names = Buffer.concat([text("a"), text("b")]);
    const rename2 = async (flags: number) =>
      await client.ask(Opcode.rename2, ROOT_ID, encode(fuse.RENAME2_IN, { newdir: ROOT_ID, flags }, names));
    expect(await rename2(1)).toMatchObject({ errno: 38 });
    expect(await rename2(0)).toMatchObject({ errno: 0 });
    expect(readdirSync(dir)).toEqual(["b"]);
  });
});

describe("directories", () => {
  test.each([
    ["names", false],
    ["names with attributes", true],
  ])("of many entries are listed once each: %s", async (_name, plus) => {
    const names = Array.from({ length: 5_000 }, (_, n) => `entry-${n}`);
    for (const name of names) writeFileSync(at(name), "");
    const listed = await client.list(ROOT_ID, { plus });
    expect(listed.map(({ name }) => name).sort()).toEqual([".", "..", ...names].sort());
    expect(listed.filter(({ type }) => type === 8)).toHaveLength(5_000);
    const told = listed.filter(({ entry }) => (entry?.id ?? 0) > ROOT_ID);
    expect(told).toHaveLength(plus ? 5_000 : 0);
  });

  test("are read again from any place that was told, and anew from the beginning", async () => {
    for (let n = 0; n < 4_000; n++) writeFileSync(at(`entry-${n}`), "");
    const fh = await client.openDirectory(ROOT_ID);
    const all = [];
    for (let offset = 0; ; ) {
      const page = await client.page(fh, offset);
      if (page.length === 0) break;
      all.push(...page);
      offset = page.at(-1)?.next ?? 0;
    }
    for (const index of [3_999, 3_000, 1, 500, 4_001]) {
      const [entry] = await client.page(fh, index);
      expect(entry?.name, `from ${index}`).toBe(all[index]?.name);
    }
    expect(await client.page(fh, 4_002)).toEqual([]);
    expect(await client.page(fh, 2 ** 40)).toEqual([]);
    writeFileSync(at("new"), "");
    const anew = [];
    for (let offset = 0; ; ) {
      const page = await client.page(fh, offset);
      if (page.length === 0) break;
      anew.push(...page.map(({ name }) => name));
      offset = page.at(-1)?.next ?? 0;
    }
    expect(anew).toContain("new");
  });

  test("say what their entries are", async () => {
    mkdirSync(at("d"));
    writeFileSync(at("f"), "");
    symlinkSync("f", at("l"));
    const types = Object.fromEntries((await client.list(ROOT_ID)).map(({ name, type }) => [name, type]));
    expect(types).toEqual({ ".": 4, "..": 4, d: 4, f: 8, l: 10 });
  });
});

describe("a single file", () => {
  test("is shared alone, under whatever name it gets", async () => {
    writeFileSync(at("f"), "one");
    writeFileSync(at("secret"), "two");
    await using alone = await Client.open(at("f"));
    expect(alone.share.kind).toBe("file");
    const fh = await alone.open(ROOT_ID, files.O_RDWR);
    await alone.write(fh, "ONE!");
    expect(readFileSync(at("f"), "utf8")).toBe("ONE!");
    renameSync(at("f"), at("moved"));
    expect(await alone.attributes(ROOT_ID)).toMatchObject({ size: 4, mode: 0o100644 });
    for (const name of ["f", "secret"])
      await expect(alone.lookUp(ROOT_ID, name)).rejects.toMatchObject({ code: "ENOTDIR" });
    await expect(alone.openDirectory(ROOT_ID)).rejects.toMatchObject({ code: "ENOTDIR" });
  });
});

test("what the host does shows", async () => {
  writeFileSync(at("f"), "1");
  const { id } = await client.walk("f");
  writeFileSync(at("f"), "longer");
  chmodSync(at("f"), 0o600);
  expect(await client.attributes(id)).toMatchObject({ size: 6, mode: 0o100600 });
  renameSync(at("f"), at("g"));
  expect(await client.attributes(id)).toMatchObject({ size: 6 });
  symlinkSync("g", at("f"));
  const link = await client.walk("f");
  expect(link.id).not.toBe(id);
  expect((await client.call(Opcode.readlink, link.id)).toString()).toBe(readlinkSync(at("f")));
  expect(lstatSync(at("f")).isSymbolicLink()).toBe(true);
});
