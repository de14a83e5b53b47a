/**
 * A container's files from outside: what is told of them, carried out and in, and what a hostile archive does not reach;
 * on a real machine.
 */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { archiveFile, extractArchive, statFile } from "../../src/agent/files.ts";
import type { Extracted, ExtractRequest, FileStat } from "../../src/agent/files.ts";
import { listDirectory } from "../../src/agent/listing.ts";
import { ping } from "../../src/agent/client.ts";
import { collect as collectEntries, contentOf } from "../support/tar-entries.ts";
import type { CollectedEntry } from "../support/tar-entries.ts";
import type { AgentMachine, Container } from "../support/agent-machine.ts";
import { startAgentMachine } from "../support/agent-machine.ts";
import { archive, entry, header, padded, pax, paxRaw, paxRecord } from "../support/tar-builder.ts";

/** Everything that a file system has, made with what Debian has. */
const TREE = `set -e
mkdir -p /t/dir/inner /t/closed
printf hello >/t/dir/file
ln /t/dir/file /t/dir/second
ln /t/dir/file /t/third
ln -s ../dir/file /t/dir/link
ln -s /nowhere /t/absolute
mkfifo -m 640 /t/fifo
mknod /t/null c 1 3
truncate -s 3000000 /t/sparse; printf end | dd of=/t/sparse bs=1 seek=2000000 conv=notrunc 2>/dev/null
printf x >/t/$(printf 'n%.0s' $(seq 200))
mkdir -p /t/dir/$(printf 'd%.0s' $(seq 120))/$(printf 'e%.0s' $(seq 120)); printf deep >/t/dir/$(printf 'd%.0s' $(seq 120))/$(printf 'e%.0s' $(seq 120))/f
printf b >"/t/$(printf 'bytes\\377')"
setxattr() { perl -e 'my ($p, $n, $v) = @ARGV; $v = pack("H*", $v); exit(syscall(188, $p, $n, $v, length $v, 0) != 0)' "$@"; }
setxattr /t/dir/file user.note 736f6d65
setxattr /t/dir user.raw 00ff3d0a
printf 's' >/t/setuid; chown 7:8 /t/setuid; chmod 4751 /t/setuid
chown 3000000:4000000 /t/third /t/closed; chmod 0 /t/closed
touch -d '2001-02-03 04:05:06.123456789 UTC' /t/setuid
touch -h -d '1960-01-01 00:00:00.5 UTC' /t/absolute
touch -d '2002-01-01 UTC' /t/dir /t
`;
/** Every file with all that `stat` has of it, and its content's sum. */
const LIST = `cd "$1"; find . -print0 | sort -z | while IFS= read -r -d '' f; do
stat -c '%n %F %a %u:%g %s %.9Y %h %t:%T %N' "$f"; [ -f "$f" ] && [ ! -L "$f" ] && sha256sum <"$f"; done | sed 's/ directory \\([0-9]* [0-9:]*\\) [0-9]* / directory \\1 - /'`;

let machine: AgentMachine;
let container: Container;

beforeAll(async () => {
  machine = await startAgentMachine(`${inject("registry")}/flamebox/debian:12`, { memoryMib: 512 });
  container = await machine.start({
    args: ["sleep", "100000"],
    volumes: [{ path: "/vol", readonly: false, seed: false }],
    files: [{ path: "/etc/hosts", mode: 0o644, text: "127.0.0.1 localhost\n" }],
    config: (config) => ({
      ...config,
      process: {
        ...config.process,
        capabilities: Object.fromEntries(
          ["bounding", "effective", "permitted"].map((set) => [set, CAPABILITIES]),
        ),
      },
    }),
  });
});
afterAll(async () => {
  await machine[Symbol.asyncDispose]();
});
const CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "MKNOD", "FSETID", "SETFCAP", "KILL"].map(
  (name) => `CAP_${name}`,
);

const bash = async (script: string, ...args: string[]): Promise<string> => {
  const { end, stdout, stderr } = await container.exec({
    args: ["bash", "-c", script, "bash", ...args],
    process: { capabilities: undefined },
  });
  expect(end, stderr).toMatchObject({ exitCode: 0 });
  return stdout;
};

const extract = async (bytes: Uint8Array, to: Partial<ExtractRequest> = {}): Promise<Extracted> => {
  const { stream, done } = extractArchive(machine.session, { id: container.id, path: "/into", ...to });
  stream.end(bytes);
  return await done;
};

const unpack = async (path: string, options: object = {}): Promise<CollectedEntry[]> => {
  const { stream } = await archiveFile(machine.session, { id: container.id, path, ...options });
  return collectEntries(await buffer(stream));
};

const names = (entries: readonly CollectedEntry[]): string[] => entries.map(({ name }) => name);

describe("what is at a path", () => {
  test.each([
    ["a file", "/etc/hostname", { follow: true }, { name: "hostname", kind: "file" }],
    ["a directory", "/etc/", {}, { name: "etc", kind: "directory", mode: 0o755, uid: 0, gid: 0 }],
    ["the root", "/", {}, { name: ".", kind: "directory" }],
    ["a link", "/bin", {}, { name: "bin", kind: "symlink", mode: 0o777, linkTarget: "usr/bin" }],
    ["what a link leads to", "/bin", { follow: true }, { name: "bin", kind: "directory" }],
    ["the same, with a slash", "/bin/", {}, { name: "bin", kind: "directory" }],
    ["a file behind a link", "/bin/sh", { follow: true }, { name: "sh", kind: "file" }],
    ["what is mounted", "/etc/hosts", {}, { kind: "file", sizeBytes: 20, mode: 0o644 }],
    ["a device", "/dev/null", {}, { kind: "character-device", mode: 0o666 }],
    ["above the root", "/../../etc", {}, { name: "etc", kind: "directory" }],
    ["a volume", "/vol", {}, { kind: "directory" }],
    ["of the container's /proc", "/proc/1/comm", {}, { kind: "file" }],
  ])("%s", async (_name, path, options, expected) => {
    expect(await statFile(machine.session, { id: container.id, path, ...options })).toMatchObject(expected);
  });

  test("a time to the nanosecond, and before the epoch", async () => {
    await bash("touch -d '1969-12-31 23:59:58.25 UTC' /tmp/old; mkfifo /tmp/fifo");
    const stat = async (path: string) => await statFile(machine.session, { id: container.id, path });
    expect(await stat("/tmp/old")).toMatchObject({ mtime: { seconds: -2, nanoseconds: 250_000_000 } });
    expect(await stat("/tmp/fifo")).toMatchObject({ kind: "fifo" });
  });

  test.each([
    ["nothing", "/no/such", "path-not-found"],
    ["below a file", "/etc/passwd/x", "not-a-directory"],
    ["a file with a slash", "/etc/passwd/", "not-a-directory"],
    ["a link to nothing", "/t-nowhere/", "path-not-found"],
    ["a relative path", "etc", "invalid-request"],
    ["a NUL", "/etc\0", "invalid-request"],
    ["too long a path", `/${"x/".repeat(3_000)}`, "invalid-request"],
    ["a link to what is no path", "/proc/1/root/etc", "failed"],
    ["the same, at the end", "/proc/1/exe/", "failed"],
  ])("%s is refused", async (_name, path, code) => {
    for (const ask of [statFile, archiveFile])
      await expect(ask(machine.session, { id: container.id, path })).rejects.toMatchObject({ code });
  });

  test("a container that there is not", async () => {
    await expect(statFile(machine.session, { id: "nobody", path: "/" })).rejects.toMatchObject({
      code: "not-found",
    });
  });
});

describe("a directory", () => {
  const list = async (path: string, follow = false): Promise<FileStat[]> => {
    const { stat, entries } = await listDirectory(machine.session, { id: container.id, path, follow });
    expect(stat.kind).toBe("directory");
    const found: FileStat[] = [];
    for await (const entry of entries) found.push(entry);
    return found;
  };

  test("is told entry by entry as each is told alone, and nothing of what is below", async () => {
    await bash(`mkdir -p /l/sub/below /l/.hidden; cd /l; printf four >file; ln -s ../etc link; ln -s /l list
      mkfifo -m 640 fifo; mknod null c 1 3; truncate -s 5T sparse; chown 7:8 file; chmod 4751 file
      touch "$(printf 'line\\nfeed')" "$(printf 'bytes\\377')" "$(printf 'n%.0s' $(seq 255))"; printf x >sub/below/deep`);
    const found = await list("/l");
    const expected = [".hidden", "bytes\ufffd", "fifo", "file", "line\nfeed", "link", "list"];
    expect(found.map(({ name }) => name)).toEqual([...expected, "n".repeat(255), "null", "sparse", "sub"]);
    for (const entry of found.filter(({ name }) => !name.includes("\ufffd")))
      expect(entry).toEqual(await statFile(machine.session, { id: container.id, path: `/l/${entry.name}` }));
    expect(await list("/l/list", true)).toEqual(found);
    expect(await list("/l/.hidden/")).toEqual([]);
    // Others archive the root.
    await bash("rm -r /l");
  });

  test("has what is mounted in it; and the kernel's own are listed, too", async () => {
    expect((await list("/etc")).find(({ name }) => name === "hosts")).toMatchObject({ sizeBytes: 20 });
    expect((await list("/")).map(({ name }) => name)).toEqual(expect.arrayContaining(["proc", "vol", "bin"]));
    const names = (await list("/proc/1")).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["exe", "fd", "status"]));
  });

  test("of twenty thousand entries, more than are kept at once, comes whole and in order", async () => {
    await bash("mkdir /many; cd /many; seq 20000 | xargs touch");
    const names = (await list("/many")).map(({ name }) => name);
    expect(names).toEqual(Array.from({ length: 20_000 }, (_, at) => String(at + 1)).toSorted());
    await bash("rm -r /many");
  });

  test.each([
    ["a file", "/etc/passwd", "not-a-directory"],
    ["a link, not followed", "/bin", "not-a-directory"],
    ["nothing", "/nowhere", "path-not-found"],
    ["a relative path", "etc", "invalid-request"],
  ])("%s is none", async (_name, path, code) => {
    await expect(list(path)).rejects.toMatchObject({ code });
  });
});

describe("a tree", () => {
  test("goes out and in again as it was", async () => {
    await bash(TREE);
    const before = await bash(LIST, "/t");
    const { stat, stream } = await archiveFile(machine.session, { id: container.id, path: "/t" });
    expect(stat).toMatchObject({ name: "t", kind: "directory" });
    const bytes = await buffer(stream);
    const entries = collectEntries(bytes);
    expect(names(entries).slice(0, 2)).toEqual(["t/", "t/absolute"]);
    expect(bytes.includes("trusted.")).toBe(false);
    await bash("mkdir /into");
    const { entries: count, bytes: size } = await extract(bytes);
    expect(count).toBe(entries.length);
    expect(size).toBeGreaterThan(3_000_000);
    expect(await bash(LIST, "/into/t")).toBe(before);
    const attributes = entries.flatMap(({ name, entry: { xattrs } }) =>
      xattrs.map(({ name: key, value }) => [
        name,
        Buffer.from(key).toString(),
        Buffer.from(value).toString("hex"),
      ]),
    );
    expect(attributes).toEqual([
      ["t/dir/", "user.raw", "00ff3d0a"],
      ["t/dir/file", "user.note", "736f6d65"],
    ]);
    const again = await archiveFile(machine.session, { id: container.id, path: "/into/t" });
    expect((await buffer(again.stream)).equals(bytes)).toBe(true);
    await bash("rm -r /into/t");
  });

  test("an owner can be given to all of it", async () => {
    await extract(
      archive(entry({ name: "d/", type: "5", mode: 0o700 }), entry({ name: "d/f", uid: 5, gid: 6 }, "x")),
      {
        owner: { uid: 33, gid: 44 },
      },
    );
    expect(await bash("stat -c '%u:%g %a' /into/d /into/d/f; rm -r /into/d")).toBe("33:44 700\n33:44 644\n");
  });

  test("one file, and what a link leads to", async () => {
    expect(names(await unpack("/t/dir/file"))).toEqual(["file"]);
    const [link] = await unpack("/bin");
    expect(link).toMatchObject({ name: "bin", linkName: "usr/bin" });
    const followed = await unpack("/bin/sh", { follow: true });
    expect(followed.map(({ name, entry: { type } }) => [name, type])).toEqual([["sh", "file"]]);
  });

  test("the root without what is mounted, places and all", async () => {
    const root = await unpack("/", { oneFileSystem: true });
    const list = names(root);
    expect(list[0]).toBe("./");
    expect(list).toContain("etc/passwd");
    for (const [place, kind] of [
      ["proc/", ""],
      ["sys/", ""],
      ["vol/", ""],
    ] as const)
      expect(list.filter((name) => name.startsWith(place))).toEqual([`${place}${kind}`]);
    const hosts = root.find(({ name }) => name === "etc/hosts");
    expect(hosts?.entry.sizeBytes).not.toBe(20);
  });

  test("a volume, and a file that is mounted, are written where the container sees them", async () => {
    await extract(archive(entry({ name: "in-volume" }, "v")), { path: "/vol" });
    await extract(archive(entry({ name: "hosts", mode: 0o600 }, "10.0.0.1 new\n")), { path: "/etc" });
    expect(
      await bash(
        "cat /vol/in-volume; grep -c ' /vol ' /proc/mounts; cat /etc/hosts; stat -c %a /etc/hosts; grep -c ' /etc/hosts ' /proc/mounts",
      ),
    ).toBe("v1\n10.0.0.1 new\n600\n1\n");
    expect((await unpack("/vol")).map(({ name }) => name)).toEqual(["vol/", "vol/in-volume"]);
  });

  test("100 MB both ways, exactly, and the agent no larger for it", async () => {
    const { rssBytes } = await ping(machine.session);
    await bash("mkdir -p /big");
    const chunk = randomBytes(1_000_000);
    const sum = createHash("sha256");
    const { stream, done } = extractArchive(machine.session, { id: container.id, path: "/big" });
    stream.write(header({ name: "data", size: 100_000_000 }));
    for (let count = 0; count < 100; count++) {
      const bytes = Buffer.from(chunk);
      bytes.writeUInt32LE(count);
      sum.update(bytes);
      if (!stream.write(bytes)) await once(stream, "drain");
    }
    stream.end(Buffer.alloc(512 + 256));
    expect(await done).toEqual({ entries: 1, bytes: 100_000_000 });
    const expected = sum.digest("hex");
    expect(await bash("sha256sum </big/data")).toContain(expected);
    const out = await archiveFile(machine.session, { id: container.id, path: "/big/data" });
    expect(out.stat.sizeBytes).toBe(100_000_000);
    expect(await contentSum(out.stream, 512, 100_000_000)).toBe(expected);
    expect((await ping(machine.session)).rssBytes).toBeLessThan(rssBytes + (8 << 20));
    await bash("rm -r /big");
  });
});

async function contentSum(stream: Readable, start: number, length: number): Promise<string> {
  const sum = createHash("sha256");
  let at = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    sum.update(chunk.subarray(Math.max(0, start - at), Math.max(0, start + length - at)));
    at += chunk.length;
  }
  return sum.digest("hex");
}

describe("a hostile archive", () => {
  const longest = "a".repeat(256);
  test.each([
    ["a name that goes up", archive(entry({ name: "../../evil" }, "x")), "../../evil"],
    ["a name that goes up in the middle", archive(entry({ name: "a/../../evil" }, "x")), ".."],
    [
      "a file through a link of its own",
      archive(entry({ name: "out", type: "2", linkName: "/" }), entry({ name: "out/evil" }, "x")),
      "out/evil",
    ],
    [
      "a directory over a link of its own",
      archive(entry({ name: "out2", type: "2", linkName: "/" }), entry({ name: "out2/", type: "5" })),
      "out2",
    ],
    [
      "a hard link to what lies elsewhere",
      archive(entry({ name: "passwd", type: "1", linkName: "../etc/passwd" })),
      "passwd",
    ],
    [
      "a hard link to what is not there",
      archive(entry({ name: "l", type: "1", linkName: "/etc/passwd" })),
      "l",
    ],
    [
      "a hard link through a link",
      archive(
        entry({ name: "etc3", type: "2", linkName: "/etc" }),
        entry({ name: "shadow", type: "1", linkName: "etc3/shadow" }),
      ),
      "shadow",
    ],
    ["a file through a link that was there", archive(entry({ name: "there/evil" }, "x")), "there/evil"],
    ["a file over a directory", archive(entry({ name: "keep" }, "x")), "keep"],
    ["a directory over a file", archive(entry({ name: "file/", type: "5" })), "file"],
    ["something in a file", archive(entry({ name: "file/evil" }, "x")), "file/evil"],
    ["a name of 256 bytes", archive(pax({ path: longest }), entry({}, "x")), "a"],
    [
      "a file without a name",
      archive(entry({ name: "./", type: "0" }), entry({ name: ".", type: "2", linkName: "x" })),
      ".",
    ],
    ["a sparse member", archive(header({ name: "s", type: "S" })), "sparse"],
    ["a type that nobody knows", archive(entry({ name: "v", type: "V" })), "type"],
    ["an end in the middle", header({ name: "cut", size: 1_000 }), "cut"],
    ["no archive", Buffer.from("hello ".repeat(200)), "not a tar archive"],
  ])("%s is refused, and nothing is touched", async (_name, bytes, told) => {
    await bash("mkdir -p /into/keep; echo 1 >/into/file; ln -sfn / /into/there");
    const before = await bash("ls -A / /tmp; sha256sum /etc/passwd; stat -c %h /etc/shadow /etc/passwd");
    await expect(extract(bytes)).rejects.toMatchObject({
      code: "failed",
      message: expect.stringContaining(told) as string,
    });
    expect(await bash("ls -A / /tmp; sha256sum /etc/passwd; stat -c %h /etc/shadow /etc/passwd")).toBe(
      before,
    );
    await bash("rm -rf /into; mkdir /into");
  });

  test("what is harmless of it: names from the root, members that come again, attributes of the machine's", async () => {
    const records = Buffer.concat([
      paxRecord("SCHILY.xattr.user.a", "1"),
      paxRecord("SCHILY.xattr.trusted.overlay.opaque", "y"),
      paxRecord("SCHILY.xattr.trusted.b", "2"),
    ]);
    const bytes = archive(
      entry({ name: "/top/./x//y" }, "one"),
      entry({ name: "top/link", type: "2", linkName: "/etc/passwd" }),
      entry({ name: "top/link" }, "now a file"),
      paxRaw(records),
      entry({ name: "top/x/y" }, "two"),
      entry({ name: "top/x/z", type: "1", linkName: "/top/x/y" }),
      entry({ name: "top/empty", type: "7" }),
      padded(Buffer.alloc(1)),
    );
    expect(await extract(Buffer.concat([bytes, Buffer.alloc(9_000, 7)]))).toMatchObject({ entries: 6 });
    expect(
      await bash(
        "cd /into/top; cat x/y link; stat -c '%h %F' x/z link; stat -c %a x; head -1 /etc/passwd | cut -c1-4",
      ),
    ).toBe("twonow a file2 regular file\n1 regular file\n755\nroot\n");
    const [, ...inner] = await unpack("/into/top/x");
    expect(inner[0]?.entry.xattrs.map(({ name }) => Buffer.from(name).toString())).toEqual(["user.a"]);
    await bash("rm -r /into/top");
  });

  test("devices are made where the container may make them, and refused where not", async () => {
    const device = archive(entry({ name: "zero", type: "3", devMajor: 1, devMinor: 5, mode: 0o640 }));
    await extract(device);
    expect(await bash("stat -c '%F %t:%T %a' /into/zero; rm /into/zero")).toBe(
      "character special file 1:5 640\n",
    );
    const plain = await machine.start({
      args: ["sleep", "1000"],
      config: (config) => ({
        ...config,
        process: { ...config.process, capabilities: { bounding: ["CAP_CHOWN"] } },
      }),
    });
    await expect(extract(device, { id: plain.id, path: "/tmp" })).rejects.toMatchObject({
      code: "failed",
      message: expect.stringContaining("zero: a device") as string,
    });
    await machine.remove(plain);
  });

  test.each([
    ["a directory that is not there", "/no/such", "path-not-found"],
    ["a file", "/etc/passwd", "not-a-directory"],
    ["a link to what is no path", "/proc/1/cwd", "failed"],
  ])("into %s", async (_name, path, code) => {
    await expect(extract(archive(), { path })).rejects.toMatchObject({ code });
  });
});

describe("a hostile container", () => {
  test("that swaps a directory for a link, again and again, gets nothing written elsewhere", async () => {
    await bash("mkdir -p /elsewhere /into/d");
    const { wait } = await container.begin("swapper", {
      args: [
        "bash",
        "-c",
        "cd /into; while [ -e /into ]; do mv d e 2>/dev/null; ln -s /elsewhere d 2>/dev/null; rm -f d; mv e d 2>/dev/null; done",
      ],
    });
    const parts = Array.from({ length: 100 }, (_, index) => entry({ name: `d/${index}/f` }, "x"));
    for (let round = 0; round < 4; round++) await extract(archive(...parts)).catch(() => {});
    expect(await bash("ls -A /elsewhere")).toBe("");
    await bash("mv /into /gone; mkdir -p /into2");
    await wait();
    await bash("rm -r /gone /elsewhere; mkdir -p /into");
  });

  test("that nests directories deeper than a path, and fills one with names", async () => {
    await bash(`mkdir /deep /many; cd /deep
      perl -e 'my $d = "d" x 50; for (1 .. 150) { mkdir $d or die; chdir $d or die } open F, ">f"'
      perl -e 'for (1 .. 3000) { open F, ">/many/$_" or die }'`);
    const counted = async (path: string): Promise<number> => {
      const { stream } = await archiveFile(machine.session, { id: container.id, path });
      const bytes = await buffer(stream);
      expect(bytes.subarray(-1024).equals(Buffer.alloc(1024))).toBe(true);
      let members = 0;
      for (let at = 0; at < bytes.length; at += 512)
        if (bytes.toString("latin1", at + 257, at + 262) === "ustar" && bytes[at + 156] !== 0x78) members++;
      return members;
    };
    expect(await counted("/deep")).toBe(152);
    expect(await counted("/many")).toBe(3_001);
    await bash("cd /; rm -r /deep /many");
  });

  test("may hold up whoever walks into it, and nobody else; whoever breaks off is let go", async () => {
    const { stream } = await archiveFile(machine.session, { id: container.id, path: "/usr" });
    await once(stream, "readable");
    expect(await statFile(machine.session, { id: container.id, path: "/" })).toMatchObject({ name: "." });
    stream.destroy();
    for (let round = 0; round < 40; round++) {
      const begun = await archiveFile(machine.session, { id: container.id, path: "/usr" });
      begun.stream.destroy();
    }
    const abort = new AbortController();
    const { stream: input, done } = extractArchive(
      machine.session,
      { id: container.id, path: "/into" },
      { signal: abort.signal },
    );
    input.write(header({ name: "half", size: 1_000 }));
    abort.abort(new Error("enough"));
    await expect(done).rejects.toThrow("enough");
    expect((await unpack("/etc/hostname"))[0]?.name).toBe("hostname");
  });

  test("no more than 16 at once", async () => {
    // One of its own: what the tests before have broken off may not have ended yet.
    const other = await machine.create({ args: ["sleep", "1000"] });
    const archived = async () => await archiveFile(machine.session, { id: other.id, path: "/usr" });
    const begun = await Promise.all(Array.from({ length: 16 }, archived));
    await expect(archived()).rejects.toMatchObject({ code: "conflict" });
    for (const { stream } of begun) stream.destroy();
    await machine.remove(other);
  });
});

test("a container that does not run, or not any more, has files all the same; one that is deleted breaks off", async () => {
  const other = await machine.create({ args: ["sh", "-c", "echo made >/made"] });
  const at = async (path: string) => await statFile(machine.session, { id: other.id, path });
  expect(await at("/etc/passwd")).toMatchObject({ kind: "file" });
  await extract(archive(entry({ name: "before" }, "1")), { id: other.id, path: "/" });
  await other.start();
  await other.exit;
  expect(await at("/made")).toMatchObject({ sizeBytes: 5 });
  await extract(archive(entry({ name: "after" }, "2")), { id: other.id, path: "/srv" });
  const { stream } = await archiveFile(machine.session, { id: other.id, path: "/srv" });
  const entries = collectEntries(await buffer(stream));
  expect(entries.map((found) => [found.name, contentOf(found).toString()])).toEqual([
    ["srv/", ""],
    ["srv/after", "2"],
  ]);
  const broken = await archiveFile(machine.session, { id: other.id, path: "/" });
  const failed = buffer(broken.stream);
  failed.catch(() => {});
  await machine.remove(other);
  await expect(failed).rejects.toMatchObject({
    code: "failed",
    message: expect.stringContaining("deleted") as string,
  });
  await expect(at("/")).rejects.toMatchObject({ code: "not-found" });
});
