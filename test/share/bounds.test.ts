/** What a share may cost the host, and what ends it. */
import {
  constants as files,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import * as fuse from "../../src/share/fuse/format.ts";
import { Opcode, ROOT_ID } from "../../src/share/fuse/format.ts";
import { MessageSplitter } from "../../src/share/fuse/message.ts";
import { Client, encode, text } from "./client.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "flamebox-share-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

/** Descriptors of this process that lead below `dir`. */
async function descriptors(): Promise<number> {
  const { readlink, readdir } = await import("node:fs/promises");
  const links = await Promise.all(
    (await readdir("/proc/self/fd")).map(async (fd) => await readlink(`/proc/self/fd/${fd}`).catch(() => "")),
  );
  return links.filter((target) => target.startsWith(dir)).length;
}

function fill(count: number): string[] {
  const names = Array.from({ length: count }, (_, n) => `f${n}`);
  for (const name of names) writeFileSync(join(dir, name), name);
  return names;
}

describe("nodes", () => {
  test("that the guest forgets are gone, with their descriptors", async () => {
    await using client = await Client.open(dir);
    const entries = await Promise.all(fill(50).map(async (name) => await client.walk(name)));
    await client.walk("f0");
    expect(client.share.usage()).toMatchObject({ nodes: 51 });
    for (const { id } of entries) client.tell(Opcode.forget, id, encode(fuse.FORGET_IN, { nlookup: 1 }));
    await client.attributes(ROOT_ID);
    expect(client.share.usage(), "f0 was told twice").toMatchObject({ nodes: 2, descriptors: 1 });
    const rest = Buffer.concat(
      [entries[0]?.id ?? 0, 77, ROOT_ID].map((nodeid) => encode(fuse.FORGET_ONE, { nodeid, nlookup: 1 })),
    );
    client.tell(Opcode.batchForget, 0, encode(fuse.BATCH_FORGET_IN, { count: 3 }, rest));
    await client.attributes(ROOT_ID);
    expect(client.share.usage()).toMatchObject({ nodes: 1, descriptors: 0 });
    expect(await descriptors()).toBe(1);
  });

  test("keep few descriptors, and are found again by their names", async () => {
    const names = fill(60);
    await using client = await Client.open(dir, { limits: { descriptors: 8 } });
    const entries = await Promise.all(names.map(async (name) => await client.walk(name)));
    expect(client.share.usage()).toMatchObject({ nodes: 61, descriptors: 8 });
    expect(await descriptors()).toBe(9);
    for (const [n, { id, ino }] of entries.entries()) {
      expect((await client.attributes(id)).ino).toBe(ino);
      const fh = await client.open(id);
      expect((await client.read(fh)).toString()).toBe(names[n]);
      await client.release(fh);
    }
    expect(client.share.usage().descriptors).toBe(8);
  });

  test("that are no longer what they were are stale, and new ones are told", async () => {
    const names = fill(3);
    await using client = await Client.open(dir, { limits: { descriptors: 1 } });
    const entries = await Promise.all(names.map(async (name) => await client.walk(name)));
    await client.walk("f2");
    renameSync(join(dir, "f1"), join(dir, "f0"));
    for (const entry of entries.slice(0, 2))
      await expect(client.attributes(entry.id)).rejects.toMatchObject({ code: "ESTALE" });
    expect((await client.walk("f0")).id).toBe(entries[1]?.id);
    expect(await client.attributes(entries[1]?.id ?? 0)).toMatchObject({ size: 2 });
  });

  test("are dropped when there are too many, but not those in use", async () => {
    const names = fill(40);
    mkdirSync(join(dir, "d"));
    await using client = await Client.open(dir, { limits: { nodes: 10 } });
    const used = await client.walk("f0");
    const fh = await client.open(used.id);
    const listed = await client.openDirectory((await client.walk("d")).id);
    const entries = [];
    for (const name of names.slice(1)) entries.push(await client.walk(name));
    expect(client.share.usage()).toMatchObject({ nodes: 10, handles: 2 });
    await expect(client.attributes(entries[0]?.id ?? 0)).rejects.toMatchObject({ code: "ESTALE" });
    expect(await client.attributes(used.id)).toMatchObject({ size: 2 });
    expect((await client.read(fh)).toString()).toBe("f0");
    expect(await client.page(listed, 0)).toHaveLength(2);
    // All that there is room for is open: there is no room for more.
    const open = [];
    for (const name of names.slice(1, 8)) open.push(await client.open((await client.walk(name)).id));
    await expect(client.walk("f30")).rejects.toMatchObject({ code: "ENFILE" });
    await client.release(open[0] ?? 0);
    expect(await client.walk("f30")).toMatchObject({ size: 3 });
  });

  test("of a directory that was dropped cannot be reached through it", async () => {
    mkdirSync(join(dir, "d", "e"), { recursive: true });
    writeFileSync(join(dir, "d", "e", "f"), "");
    await using client = await Client.open(dir, { limits: { descriptors: 1 } });
    const d = await client.walk("d");
    const e = await client.lookUp(d.id, "e");
    expect((await client.lookUp(e.id, "f")).size, "all opened again").toBe(0);
    client.tell(Opcode.forget, d.id, encode(fuse.FORGET_IN, { nlookup: 1 }));
    await client.attributes(ROOT_ID);
    await expect(client.lookUp(e.id, "f")).rejects.toMatchObject({ code: "ESTALE" });
    await expect(client.lookUp(d.id, "e")).rejects.toMatchObject({ code: "ESTALE" });
    await expect(client.lookUp(Number.MAX_SAFE_INTEGER, "e")).rejects.toMatchObject({ code: "ESTALE" });
  });
});

test("handles are bounded, also those that are opened at once", async () => {
  fill(1);
  await using client = await Client.open(dir, { limits: { handles: 20 } });
  const { id } = await client.walk("f0");
  const opened = await Promise.allSettled(
    Array.from(
      { length: 50 },
      async (_, n) => await (n % 2 ? client.open(id) : client.openDirectory(ROOT_ID)),
    ),
  );
  expect(opened.filter(({ status }) => status === "fulfilled")).toHaveLength(20);
  expect(client.share.usage().handles).toBe(20);
  await expect(client.create(ROOT_ID, "new")).rejects.toMatchObject({ code: "ENFILE" });
});

test("a share that ends closes all that it had open", async () => {
  fill(20);
  const client = await Client.open(dir);
  for (const name of readdirSync(dir)) await client.open((await client.walk(name)).id);
  await client.openDirectory(ROOT_ID);
  expect(await descriptors()).toBeGreaterThan(40);
  await client[Symbol.asyncDispose]();
  for (let tries = 0; (await descriptors()) > 0 && tries < 100; tries++) await sleep(10);
  expect(await descriptors()).toBe(0);
});

test("a guest that takes no replies is asked nothing more, and holds up no end", async () => {
  writeFileSync(join(dir, "big"), Buffer.alloc(1 << 20));
  const client = await Client.open(dir);
  const fh = await client.open((await client.walk("big")).id);
  client.fromServer.removeAllListeners("data").pause();
  const before = process.memoryUsage().arrayBuffers;
  const request = client.message(Opcode.read, 0, encode(fuse.READ_IN, { fh, size: fuse.MAX_DATA_BYTES }));
  for (let n = 0; n < 2_000; n++) client.toServer.write(request);
  await sleep(500);
  // The window of the stream, and what the gate lets in, of 2 GiB.
  const { readableLength, writableLength } = client.fromServer;
  expect(readableLength + writableLength).toBeGreaterThan(4 << 20);
  expect(readableLength + writableLength).toBeLessThan(16 << 20);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 << 20);
  await client[Symbol.asyncDispose]();
  expect(await client.ended).toBeUndefined();
});

describe("what is no FUSE ends the share", () => {
  const header = (length: number): Buffer => {
    const bytes = Buffer.alloc(40);
    bytes.writeUInt32LE(length, 0);
    return bytes;
  };
  test.each([
    ["length 0", header(0)],
    ["shorter than a header", header(39)],
    ["longer than any request", header(fuse.MAX_MESSAGE_BYTES + 1)],
    ["2^32 - 1", header(0xffff_ffff)],
    [
      "extensions longer than the message",
      (() => {
        const bytes = header(40);
        bytes.writeUInt16LE(1, 36);
        return bytes;
      })(),
    ],
  ])("%s", async (_name, bytes) => {
    await using client = await Client.open(dir);
    client.toServer.write(bytes);
    expect(await client.ended).toMatchObject({ code: "bad-message" });
    expect(client.toServer.destroyed && client.fromServer.destroyed).toBe(true);
  });
});

describe("requests that no kernel makes are refused, and the share goes on", () => {
  const short = Buffer.alloc(3);
  test.each([
    ["GETATTR", Opcode.getattr, short, 22],
    ["SETATTR", Opcode.setattr, short, 22],
    ["OPEN", Opcode.open, short, 22],
    ["READ", Opcode.read, short, 22],
    ["READ of too much", Opcode.read, encode(fuse.READ_IN, { fh: 1, size: fuse.MAX_DATA_BYTES + 1 }), 22],
    [
      "READ far out",
      Opcode.read,
      encode(fuse.READ_IN, { fh: 1, offset: Number.MAX_SAFE_INTEGER, size: 1 }),
      27,
    ],
    ["READ of no handle", Opcode.read, encode(fuse.READ_IN, { fh: 99, size: 1 }), 9],
    [
      "WRITE of less than it says",
      Opcode.write,
      encode(fuse.WRITE_IN, { fh: 1, size: 5 }, Buffer.alloc(4)),
      22,
    ],
    ["WRITE of no handle", Opcode.write, encode(fuse.WRITE_IN, { fh: 99, size: 1 }, Buffer.alloc(1)), 9],
    ["READDIR of a file", Opcode.readdir, encode(fuse.READ_IN, { fh: 1, size: 4096 }), 9],
    ["RELEASE of no handle", Opcode.release, encode(fuse.RELEASE_IN, { fh: 99 }), 9],
    ["RELEASEDIR of a file", Opcode.releasedir, encode(fuse.RELEASE_IN, { fh: 1 }), 9],
    ["FSYNC", Opcode.fsync, short, 22],
    ["RENAME with one name", Opcode.rename, encode(fuse.RENAME_IN, { newdir: 1 }, text("f")), 22],
    [
      "RENAME into nothing",
      Opcode.rename,
      encode(fuse.RENAME_IN, { newdir: 99 }, Buffer.concat([text("f"), text("g")])),
      116,
    ],
    ["LINK of nothing", Opcode.link, encode(fuse.LINK_IN, { oldnodeid: 99 }, text("g")), 116],
    ["LINK of the share", Opcode.link, encode(fuse.LINK_IN, { oldnodeid: 1 }, text("g")), 1],
    ["SYMLINK to nothing", Opcode.symlink, Buffer.concat([text("l"), text("")]), 2],
    ["READLINK of the share", Opcode.readlink, Buffer.alloc(0), 22],
    ["INIT of an old kernel", Opcode.init, encode(fuse.INIT_IN, { major: 7, minor: 12 }), 71],
    ["GETXATTR", Opcode.getxattr, Buffer.alloc(24), 38],
    ["FLUSH", Opcode.flush, Buffer.alloc(24), 38],
    ["FALLOCATE", Opcode.fallocate, Buffer.alloc(32), 38],
    ["LSEEK", Opcode.lseek, Buffer.alloc(24), 38],
    ["COPY_FILE_RANGE", Opcode.copyFileRange, Buffer.alloc(56), 38],
    ["INTERRUPT", Opcode.interrupt, Buffer.alloc(8), 38],
    ["an opcode of later", 4_000, Buffer.alloc(8), 38],
  ])("%s", async (_name, opcode, body, errno) => {
    writeFileSync(join(dir, "f"), "text");
    await using client = await Client.open(dir);
    expect(await client.open((await client.walk("f")).id, files.O_RDWR)).toBe(1);
    expect(await client.ask(opcode, ROOT_ID, body)).toEqual({ errno, body: Buffer.alloc(0) });
    expect((await client.read(1)).toString()).toBe("text");
    expect(readdirSync(dir)).toEqual(["f"]);
  });
});

test("messages are found however they are cut", async () => {
  await using client = await Client.open(dir);
  const bodies = [0, 1, 39, 40, 41, 5_000].map((length) => Buffer.alloc(length, length));
  const stream = Buffer.concat(bodies.map((body, n) => client.message(Opcode.lookup, n, body)));
  for (const size of [1, 2, 39, 40, 41, 64, 1_000, stream.length]) {
    const splitter = new MessageSplitter();
    const found: Buffer[] = [];
    for (let at = 0; at < stream.length; at += size)
      for (const request of splitter.split(stream.subarray(at, at + size)))
        found.push(Buffer.from(request.body));
    expect(found, `in pieces of ${size}`).toEqual(bodies);
  }
});

test("deep trees whose directories have all lost their descriptors are found again, or stale", async () => {
  const depth = 200;
  await using client = await Client.open(dir, { limits: { descriptors: 70 } });
  const ids = [ROOT_ID];
  for (let n = 0; n < depth; n++) ids.push((await client.makeDirectory(ids.at(-1) ?? 0, "d")).id);
  const other = await client.makeDirectory(ROOT_ID, "other");
  expect(await client.attributes(ids[50] ?? 0)).toMatchObject({ nlink: expect.any(Number) as number });
  await client.attributes(other.id);
  const deepest = await client.ask(Opcode.getattr, ids.at(-1) ?? 0, encode(fuse.GETATTR_IN, {}));
  expect([0, 116]).toContain(deepest.errno);
});
