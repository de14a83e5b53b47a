/** A directory as an archive: as GNU tar has it, and nothing of what a hostile one would have read. */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openLocation } from "../../src/source/open.ts";
import { packTree } from "../../src/source/tree/pack.ts";
import type { PackOptions } from "../../src/source/tree/pack.ts";
import { FlameBoxError } from "../../src/util/error.ts";
import { collect, contentOf } from "../support/tar-entries.ts";

const isRoot = process.getuid?.() === 0;
let place: string;
let dir: string;
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), "flamebox-pack-"));
  dir = join(place, "rootfs");
  mkdirSync(dir);
});
afterEach(() => rmSync(place, { recursive: true, force: true }));

const at = (...names: string[]) => join(dir, ...names);

/** `between` is called with each chunk, before the next is asked for. */
async function pack(
  options: PackOptions & { readonly between?: (chunk: Uint8Array) => void; readonly path?: string } = {},
): Promise<Buffer> {
  const { between, path = dir, ...rest } = options;
  const chunks: Buffer[] = [];
  for await (const chunk of packTree(path, rest)) {
    chunks.push(Buffer.from(chunk));
    between?.(chunk);
  }
  return Buffer.concat(chunks);
}

function entriesOf(archive: Buffer) {
  return collect(archive).map(({ entry, name, linkName, ...more }) => {
    const { type, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, devMajor, devMinor, sizeBytes } = entry;
    const isDevice = type === "character" || type === "block";
    return {
      name,
      type,
      linkName,
      mode,
      owner: `${uid}:${gid}`,
      time: `${mtimeSeconds}.${mtimeNanoseconds}`,
      device: isDevice ? `${devMajor}:${devMinor}` : "",
      content: contentOf({ entry, name, linkName, ...more }).toString("latin1"),
      sizeBytes,
    };
  });
}

function byTar(): Buffer {
  const options = ["--sort=name", "--format=posix", "--numeric-owner", "--one-file-system"];
  return execFileSync("tar", [...options, "-C", dir, "-c", "."], {
    maxBuffer: 2 ** 27,
    stdio: ["ignore", "pipe", "ignore"],
  });
}

function makeTree(): void {
  for (const name of ["bin", "etc/deep/er", "empty", "dev", "long"]) mkdirSync(at(name), { recursive: true });
  writeFileSync(at("bin/big"), Buffer.alloc(3 * 2 ** 20 + 17, "big"));
  writeFileSync(at("bin/chunk"), Buffer.alloc(256 * 1024, "c"));
  writeFileSync(at("bin/none"), "");
  chmodSync(at("bin/big"), 0o4751);
  chmodSync(at("empty"), 0o1777);
  writeFileSync(at("etc/first"), "one file, three names");
  linkSync(at("etc/first"), at("bin/again"));
  linkSync(at("etc/first"), at("etc/deep/third"));
  symlinkSync("/etc/shadow", at("etc/abs"));
  symlinkSync("../../../../..", at("etc/deep/er/up"));
  symlinkSync("loop", at("loop"));
  linkSync(at("loop"), at("loop-again"));
  symlinkSync("x".repeat(3000), at("long/link"));
  writeFileSync(at("long", "n".repeat(255)), "long");
  mkdirSync(at("long", "d".repeat(200), "e".repeat(200)), { recursive: true });
  writeFileSync(Buffer.concat([Buffer.from(`${dir}/long/`), Buffer.from([0xff, 0xfe, 0x20, 0x0a])]), "bytes");
  writeFileSync(Buffer.from(`${dir}/é`), "utf-8");
  utimesSync(at("etc/first"), -1.5, -1.5);
  utimesSync(at("bin/none"), 1_700_000_000.125, 1_700_000_000.125);
  lutimesSync(at("loop"), 5, 5);
  execFileSync("mkfifo", ["-m", "640", at("dev/fifo")]);
  if (!isRoot) return;
  execFileSync("mknod", [at("dev/null"), "c", "1", "3"]);
  execFileSync("mknod", [at("dev/far"), "b", "4095", "1048575"]);
  chownSync(at("bin/big"), 4_000_000_000, 70_000);
  chmodSync(at("bin/big"), 0o4751);
}

describe("a tree", () => {
  test("is packed as GNU tar packs it, twice into the same bytes", async () => {
    makeTree();
    const archive = await pack();
    expect(entriesOf(archive)).toEqual(entriesOf(byTar()));
    expect((await pack()).equals(archive)).toBe(true);
    // Where it is does not matter, nor how it is spelt.
    symlinkSync(dir, join(place, "link"));
    expect((await pack({ path: `${join(place, "link")}/.` })).equals(archive)).toBe(true);
  });

  test("without what a layer cannot hold, with a word", async () => {
    writeFileSync(at("kept"), "");
    writeFileSync(at(".wh.kept"), "");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(at("socket"), resolve));
    const notices: string[] = [];
    const archive = await pack({ onNotice: (notice) => notices.push(notice) });
    await new Promise((resolve) => server.close(resolve));
    expect(entriesOf(archive).map(({ name }) => name)).toEqual(["./", "./kept"]);
    expect(notices).toEqual([
      expect.stringMatching(/\.wh\.kept" is left out: in a layer its name would hide another file$/),
      expect.stringMatching(/socket" is left out: it is a socket$/),
    ]);
  });

  test.skipIf(!isRoot)("ends where another file system begins (mounts need root)", async () => {
    for (const name of ["proc", "zone"]) mkdirSync(at(name));
    writeFileSync(at("zone", "f"), "");
    const script = `mount -t tmpfs none '${at("proc")}' && touch '${at("proc", "secret")}' && exec sleep 100`;
    const { spawn } = await import("node:child_process");
    const holder = spawn("unshare", ["-m", "--propagation", "private", "sh", "-c", script]);
    try {
      const seen = `/proc/${holder.pid}/root${dir}`;
      const notices: string[] = [];
      let names: string[] = [];
      for (let tries = 0; tries < 100 && notices.length === 0; tries++) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        const archive = await pack({ path: seen, onNotice: (notice) => notices.push(notice) });
        names = entriesOf(archive).map(({ name }) => name);
      }
      expect(names).toEqual(["./", "./proc/", "./zone/", "./zone/f"]);
      expect(notices[0]).toMatch(/proc" is left out: another file system is mounted there/);
    } finally {
      holder.kill("SIGKILL");
    }
  });
});

const big = () => writeFileSync(at("big"), Buffer.alloc(2 ** 20, "x"));
/** Once, when so many bytes of the archive are out. */
function after(bytes: number, change: () => void): (chunk: Uint8Array) => void {
  let left = bytes;
  return ({ length }) => {
    left -= length;
    if (left <= 0 && left + length > 0) change();
  };
}

describe("a tree that is changed while it is read", () => {
  test.each<[name: string, change: () => void]>([
    ["a file that grows", () => appendFileSync(at("big"), "more")],
    ["a file that shrinks", () => truncateSync(at("big"), 2 ** 19)],
    ["a file that is written to", () => utimesSync(at("big"), 1, 1)],
    [
      "the next file is another one",
      () => {
        unlinkSync(at("next"));
      },
    ],
  ])("%s: the file is named", async (name, change) => {
    big();
    writeFileSync(at("next"), "");
    const wanted = {
      code: "tree-changed",
      message: expect.stringMatching(/\/(big|next)" was changed while/),
    };
    await expect(pack({ between: after(600_000, change) }), name).rejects.toMatchObject(wanted);
  });

  test("a directory that becomes a link leads nowhere", async () => {
    big();
    mkdirSync(at("later"));
    mkdirSync(join(place, "outside"));
    writeFileSync(join(place, "outside", "secret"), "");
    const change = () => {
      renameSync(at("later"), at("was"));
      symlinkSync(join(place, "outside"), at("later"));
    };
    const archive = await pack({ between: after(600_000, change) });
    expect(entriesOf(archive).map(({ name, type }) => `${type} ${name}`)).toContain("symlink ./later");
    expect(archive.includes("secret")).toBe(false);
  });
});

describe("a tree that is no image", () => {
  test.each<[name: string, limits: PackOptions["limits"], says: RegExp]>([
    ["entries", { maxEntries: 3 }, /more than 3 entries/],
    ["bytes", { maxBytes: 5000 }, /more than 5000 bytes/],
    ["levels", { maxDepth: 2 }, /more than 2 directories deep/],
  ])("too many %s; one less is taken", async (_, limits, says) => {
    mkdirSync(at("a/b/c"), { recursive: true });
    writeFileSync(at("f"), Buffer.alloc(3000));
    await expect(pack({ limits })).rejects.toMatchObject({
      code: "tree-too-large",
      message: expect.stringMatching(says),
    });
    await pack({ limits: { maxEntries: 4, maxBytes: 20_000, maxDepth: 4 } });
  });

  // Root may read everything.
  test.skipIf(isRoot && !canBeNobody())("what may not be read is named, with a way out", async () => {
    mkdirSync(at("private"));
    writeFileSync(at("private/f"), "");
    chmodSync(at("private"), 0);
    chmodSync(place, 0o755);
    const failure = await asNobody(dir);
    expect(failure).toMatch(/^tree-unreadable .*private" cannot be read: EACCES.* hint run it as a user/s);
  });

  test("a signal ends it", async () => {
    big();
    const aborting = new AbortController();
    writeFileSync(at("next"), "");
    const packing = pack({ signal: aborting.signal, between: after(1000, () => aborting.abort()) });
    await expect(packing).rejects.toThrow("aborted");
  });
});

function canBeNobody(): boolean {
  return process.seteuid !== undefined;
}

/** As a user who may not read everything, which this process becomes for a moment. */
async function asNobody(path: string): Promise<string> {
  if (isRoot) process.seteuid?.(65_534);
  try {
    await pack({ path });
    return "nothing failed";
  } catch (error) {
    if (!(error instanceof FlameBoxError)) throw error;
    return `${error.code} ${error.message} hint ${error.hint}`;
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

const platform = { os: "linux", architecture: "amd64" };

async function resolved(location: Parameters<typeof openLocation>[0]) {
  await using images = await openLocation(location, { workspace: place });
  const image = await images.images[0]?.resolve({ platform });
  if (image === undefined) throw new Error("there is no image");
  const manifest = JSON.parse(Buffer.from(image.manifestBytes).toString()) as {
    layers: { mediaType: string; digest: never; size: number }[];
  };
  const [layer] = manifest.layers;
  if (layer === undefined || manifest.layers.length !== 1) throw new Error("it has not one layer");
  const read = async () => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of image.openBlob(layer)) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  return { id: image.descriptor.digest, layer, read };
}

describe("dir: and tar:", () => {
  test("a directory is the same image as long as it is the same, in whatever archive", async () => {
    makeTree();
    const first = await resolved({ kind: "dir", path: dir });
    const archive = await first.read();
    expect(archive.equals(await pack())).toBe(true);
    expect((await resolved({ kind: "dir", path: dir })).id).toBe(first.id);
    const file = join(place, "rootfs.tar");
    writeFileSync(file, archive);
    expect((await resolved({ kind: "tar", path: file })).id).toBe(first.id);
    appendFileSync(at("etc/first"), "!");
    expect((await resolved({ kind: "dir", path: dir })).id).not.toBe(first.id);
    await expect(first.read()).rejects.toMatchObject({ code: "tree-changed" });
  });

  test("a compressed archive is a compressed layer", async () => {
    writeFileSync(at("f"), "f");
    const file = join(place, "rootfs.tar.gz");
    writeFileSync(file, gzipSync(await pack()));
    const { layer, read } = await resolved({ kind: "tar", path: file });
    expect(layer.mediaType).toMatch(/\+gzip$/);
    expect((await read()).equals(readFileSync(file))).toBe(true);
  });

  test.each<[name: string, make: () => void, code: string, says: RegExp]>([
    ["an empty directory", () => {}, "invalid-archive", /is empty/],
    [
      "an OCI layout",
      () => {
        writeFileSync(at("oci-layout"), "{}");
        writeFileSync(at("index.json"), "{}");
      },
      "invalid-archive",
      /OCI layout/,
    ],
    ["no directory", () => rmSync(dir, { recursive: true }), "image-not-found", /there is no directory/],
  ])("dir: refuses %s", async (_, make, code, says) => {
    make();
    await expect(resolved({ kind: "dir", path: dir })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(says),
    });
  });

  test.each<[name: string, path: () => string, code: string, says: RegExp]>([
    ["a directory", () => dir, "invalid-archive", /is a directory/],
    ["a FIFO", () => (execFileSync("mkfifo", [at("p")]), at("p")), "invalid-archive", /no regular file/],
    ["nothing", () => at("none"), "image-not-found", /there is no file/],
    [
      "xz",
      () => (writeFileSync(at("x"), Buffer.from("fd377a585a0000", "hex")), at("x")),
      "invalid-archive",
      /xz/,
    ],
  ])("tar: refuses %s", async (_, path, code, says) => {
    await expect(resolved({ kind: "tar", path: path() })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(says),
    });
  });

  test("a root file system that has a file called version is none of skopeo's", async () => {
    writeFileSync(at("version"), "12.1");
    const { read } = await resolved({ kind: "dir", path: dir });
    expect(entriesOf(await read()).map(({ name }) => name)).toEqual(["./", "./version"]);
  });
});
