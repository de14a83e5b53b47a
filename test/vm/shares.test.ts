/** Host folders in real machines: what the container does the host sees, and the other way round. */
import { createHash, randomBytes } from "node:crypto";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Ended, Home } from "../support/home.ts";
import { isLong } from "../support/long.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
let home: Home;
let place: string;
let dir: string;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  const pulled = await home.run(["pull", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
});
afterAll(async () => {
  const left = await home.leftovers();
  await home[Symbol.asyncDispose]();
  if (left.length > 0) throw new Error(`left over: ${left.join(", ")}`);
});
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), "flamebox-share-"));
  dir = join(place, "share");
  mkdirSync(dir, { mode: 0o755 });
});
afterEach(() => {
  rmSync(place, { recursive: true, force: true });
});

const at = (...names: string[]): string => join(dir, ...names);

function argumentsOf(binds: readonly string[], script: string, more: readonly string[] = []): string[] {
  const volumes = binds.flatMap((bind) => ["-v", bind]);
  return ["run", "--rm", "-q", "-i", "--network", "none", ...volumes, ...more, busybox, "sh", "-c", script];
}

async function shell(
  binds: readonly string[],
  script: string,
  { input = "", more = [] }: { readonly input?: string | Buffer; readonly more?: readonly string[] } = {},
): Promise<Ended> {
  return await home.run(argumentsOf(binds, script, more), { input });
}

/** `name: value` lines of a script's output. */
function labelled({ stdout }: Ended): Record<string, string> {
  return Object.fromEntries(stdout.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2)));
}

/** Every path below `root` with its kind, mode and content. */
function treeOf(root: string): string[] {
  return fs
    .readdirSync(root, { recursive: true, encoding: "utf8" })
    .map((name) => {
      const path = join(root, name);
      const stats = fs.lstatSync(path);
      const mode = stats.mode.toString(8);
      if (stats.isSymbolicLink()) return `${name} ${mode} -> ${fs.readlinkSync(path)}`;
      if (!stats.isFile()) return `${name} ${mode}`;
      const digest = createHash("sha256").update(readFileSync(path)).digest("hex");
      return `${name} ${mode} ${Math.floor(stats.mtimeMs / 1000)} ${stats.size} ${digest}`;
    })
    .sort();
}

describe("a host folder", () => {
  test("is used like any other", async () => {
    mkdirSync(at("sub"));
    writeFileSync(at("sub", "from-host"), "hello\n", { mode: 0o640 });
    writeFileSync(at("program"), "#!/bin/sh\necho ran $0 $1\n", { mode: 0o755 });
    writeFileSync(at("log"), "first\n");
    const script = `
      cd /src
      echo "read: $(cat sub/from-host)"
      echo "mode: $(stat -c '%a %u %g %s' sub/from-host)"
      echo "mounted: $(grep ' /src ' /proc/mounts)"
      echo "executed: $(./program x)"
      echo second >>log
      umask 027; echo text >made; mkdir made-dir; ln -s made link; ln made hard
      mv sub/from-host moved; rmdir sub
      echo "links: $(stat -c %h made) $(readlink link) $(cat link)"
      chmod 4711 made; echo "set-id: $(stat -c %a made)"
      touch -d '2001-02-03 04:05:06' moved
      truncate -s 1000 grown; echo "grown: $(stat -c %s grown)"
      printf 12345678 >cut; truncate -s 3 cut; echo "cut: $(cat cut)"
      (exec 9>>log; echo third >&9)
      sh -c 'exec 3<moved; rm moved; echo "removed: $(cat <&3)"'
      echo "fifo: $(mkfifo pipe 2>&1)"
      echo "device: $(mknod null c 1 3 2>&1)"
      echo "not there: $(cat nothing 2>&1)"
      echo "long: $(: 2>&1 >$(printf %0300d 0))"
      df -P /src >/dev/null && echo "df: works"`;
    const ended = await shell([`${dir}:/src`], script);
    expect(ended.code, ended.stderr).toBe(0);
    expect(labelled(ended)).toMatchObject({
      read: "hello",
      mode: `640 ${process.getuid?.()} ${process.getgid?.()} 6`,
      mounted: expect.stringMatching(/ fuse rw,nosuid,nodev,/) as string,
      executed: "ran ./program x",
      links: "2 made text",
      "set-id": "711",
      grown: "1000",
      cut: "123",
      removed: "hello",
      fifo: expect.stringContaining("not permitted") as string,
      device: expect.stringContaining("not permitted") as string,
      "not there": expect.stringContaining("No such file") as string,
      long: expect.stringContaining("File name too long") as string,
      df: "works",
    });
    expect(readFileSync(at("log"), "utf8")).toBe("first\nsecond\nthird\n");
    expect(fs.readdirSync(dir).sort()).toEqual([
      "cut",
      "grown",
      "hard",
      "link",
      "log",
      "made",
      "made-dir",
      "program",
    ]);
    expect(statSync(at("made")).mode & 0o7777).toBe(0o711);
    expect(statSync(at("made-dir")).mode & 0o7777).toBe(0o750);
    expect(statSync(at("hard")).ino).toBe(statSync(at("made")).ino);
  });

  test("read-only, stays as it is", async () => {
    writeFileSync(at("f"), "as it was");
    const script = `
      cd /src
      echo "read: $(cat f)"
      echo "mounted: $(grep ' /src ' /proc/mounts)"
      for change in 'echo x >f' 'echo x >>f' 'echo x >new' 'rm f' 'mkdir d' 'mv f g' 'ln -s x l' 'chmod 777 f' 'touch f'; do
        if (eval "$change") 2>/tmp/why; then echo "done: $change"; else grep -c 'Read-only' /tmp/why; fi
      done`;
    const ended = await shell([`${dir}:/src:ro`], script);
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).not.toContain("done:");
    expect(ended.stdout.split("\n").filter((line) => line === "1")).toHaveLength(9);
    expect(labelled(ended)).toMatchObject({
      read: "as it was",
      mounted: expect.stringContaining(" fuse ro,") as string,
    });
    expect(treeOf(dir)).toHaveLength(1);
    expect(readFileSync(at("f"), "utf8")).toBe("as it was");
  });

  test("shows both sides what the other does, while the container runs", async () => {
    const running = home.spawn(
      argumentsOf(
        [`${dir}:/src`],
        "cat /src/f; echo ready; while ! grep -q changed /src/f || ! [ -e /src/new ]; do sleep 0.2; done; echo seen >/src/answer; cat",
      ),
    );
    writeFileSync(at("f"), "old\n");
    await running.shows("ready");
    writeFileSync(at("f"), "changed by the host, and longer\n");
    writeFileSync(at("new"), "");
    const until = Date.now() + 30_000;
    const answer = () => (fs.existsSync(at("answer")) ? readFileSync(at("answer"), "utf8") : "");
    while (answer() === "" && Date.now() < until) await sleep(50);
    expect(answer()).toBe("seen\n");
    running.child.stdin.end();
    expect(await running.ended).toMatchObject({ code: 0 });
  });

  test("has links out of it resolved inside the container", async () => {
    writeFileSync(join(place, "secret"), "of the host");
    symlinkSync(join(place, "secret"), at("to-the-host"));
    symlinkSync("../secret", at("up"));
    symlinkSync("/etc/hostname", at("hostname"));
    symlinkSync("/", at("root"));
    const script = `
      cd /src
      echo "host: $(cat to-the-host 2>&1)"
      echo "up: $(cat up 2>&1)"
      echo "hostname: $(cat hostname)"
      echo "root: $(ls root/src | wc -l)"
      echo overwritten >up; echo "container's: $(cat /secret)"`;
    const ended = await shell([`${dir}:/src`], script, { more: ["-h", "of-the-container"] });
    expect(ended.code, ended.stderr).toBe(0);
    expect(labelled(ended)).toMatchObject({
      host: expect.stringContaining("No such file") as string,
      up: expect.stringContaining("No such file") as string,
      hostname: "of-the-container",
      root: "4",
      "container's": "overwritten",
    });
    expect(readFileSync(join(place, "secret"), "utf8")).toBe("of the host");
  });

  test.skipIf(process.getuid?.() !== 0)("is a user's own, who is not root in the container", async () => {
    fs.chmodSync(dir, 0o777);
    writeFileSync(at("of-root"), "x", { mode: 0o600 });
    const script = `cd /src; echo mine >made; stat -c %u:%g made; cat of-root 2>&1 | grep -c denied; chmod 600 made; cat made`;
    const ended = await shell([`${dir}:/src`], script, { more: ["-u", "1234:2345"] });
    expect(ended, ended.stderr).toMatchObject({ code: 0, stdout: "1234:2345\n1\nmine\n" });
    expect(statSync(at("made"))).toMatchObject({ uid: 1234, gid: 2345 });
  });
});

describe("mounts", () => {
  test("of files, one in the other, and over what the image has", async () => {
    writeFileSync(at("file"), "a file\n");
    writeFileSync(at("passwd"), "root:x:0:0::/:/bin/sh\nhost-user:x:77:77::/:/bin/sh\n");
    writeFileSync(at("hosts"), "192.0.2.1\tmy-own\n");
    mkdirSync(at("outer"));
    mkdirSync(join(place, "inner"));
    writeFileSync(join(place, "inner", "f"), "inner\n");
    const binds = [
      `${join(place, "inner")}:/a/b/c/inner:ro`,
      `${at("outer")}:/a/b/c`,
      `${at("file")}:/some/where/file`,
      `${at("file")}:/ro-file:ro`,
      `${at("passwd")}:/etc/passwd`,
      `${at("hosts")}:/etc/hosts`,
      `${at("outer")}:/bin/../opt/./again/`,
    ];
    const script = `
      echo "file: $(cat /some/where/file)"
      echo appended >>/some/where/file
      sh -c 'echo x >/ro-file' 2>&1 | grep -c 'Read-only'
      echo "user: $(id -u host-user)"
      echo "hosts: $(cat /etc/hosts)"
      echo "inner: $(cat /a/b/c/inner/f)"
      echo outer >/a/b/c/made
      echo "again: $(cat /opt/again/made)"
      echo "resolv: $(ls /etc/resolv.conf)"`;
    const ended = await shell(binds, script);
    expect(ended.code, ended.stderr).toBe(0);
    expect(labelled(ended)).toMatchObject({
      file: "a file",
      user: "77",
      hosts: "192.0.2.1\tmy-own",
      inner: "inner",
      again: "outer",
      resolv: "/etc/resolv.conf",
    });
    expect(readFileSync(at("file"), "utf8")).toBe("a file\nappended\n");
    // The place for the inner mount was made in the outer one, as Docker does.
    expect(fs.readdirSync(at("outer")).sort()).toEqual(["inner", "made"]);
  });

  test.each([
    [
      "a path that is not there",
      ["--mount", "type=bind,source=PLACE/missing,target=/src"],
      /missing.*cannot be used/,
    ],
    ["the root directory", ["-v", "PLACE/share:/"], /the container's root/],
    [
      "a directory over a file",
      ["-v", "PLACE/share:/etc/passwd"],
      /\/etc\/passwd of the image cannot be mounted on/,
    ],
    [
      "two in one place",
      ["-v", "PLACE/share:/src", "-v", "PLACE/share:/src/"],
      /two things are to be mounted at "\/src"/,
    ],
  ])("are refused with a reason: %s", async (_name, flags, message) => {
    const ended = await shell([], "true", { more: flags.map((flag) => flag.replace("PLACE", place)) });
    expect(ended.code).toBe(125);
    expect(ended.stderr).toMatch(message);
    expect(fs.readdirSync(place)).toEqual(["share"]);
  });
});

/** Each request crosses two processes and a machine: on a busy host without KVM, 10 ms and more. */
const SLOW_MS = 600_000;

describe("in quantity", () => {
  test(
    "10,000 files are found",
    async () => {
      for (let d = 0; d < 100; d++) {
        mkdirSync(at(`d${d}`));
        for (let f = 0; f < 100; f++) writeFileSync(at(`d${d}`, `f${f}`), "");
      }
      const ended = await shell([`${dir}:/src:ro`], "find /src | sort | uniq | wc -l");
      expect(ended.code, ended.stderr).toBe(0);
      expect(ended.stdout.trim()).toBe("10101");
    },
    SLOW_MS,
  );

  test(
    "a tree comes out as it is",
    async () => {
      for (let d = 0; d < 10; d++) {
        mkdirSync(at(`d${d}`));
        for (let f = 0; f < 30; f++) writeFileSync(at(`d${d}`, `f${f}`), randomBytes(f * 300));
        symlinkSync(`d${d}/f${d}`, at(`l${d}`));
      }
      const ended = await shell([`${dir}:/src:ro`], "cd /src; tar cf - *");
      expect(ended.code, ended.stderr).toBe(0);
      const out = join(place, "out");
      mkdirSync(out);
      execFileSync("tar", ["xpf", "-", "-C", out], { input: Buffer.from(ended.stdout, "latin1") });
      expect(treeOf(out)).toEqual(treeOf(dir));
    },
    SLOW_MS,
  );

  test("a tree goes in as it is, through many small files that come, move and go", {
    timeout: SLOW_MS,
  }, async () => {
    const source = join(place, "source");
    const [files, refs] = isLong ? [300, 200] : [90, 60];
    for (let n = 0; n < files; n++) {
      const sub = join(source, "objects", String(n % 16));
      mkdirSync(sub, { recursive: true });
      writeFileSync(join(sub, `o${n}`), randomBytes(n * 37), { mode: n % 3 === 0 ? 0o755 : 0o644 });
    }
    symlinkSync("objects/1", join(source, "link"));
    const input = execFileSync("tar", ["cf", "-", "-C", source, "."], { maxBuffer: 64 << 20 });
    const script = `
      cd /src && tar xpf - && cp -a . /tmp/copy &&
      for f in $(find objects -type f); do cp -p $f $f.lock && mv $f.lock $f || exit 1; done &&
      mkdir refs && for n in $(seq ${refs}); do echo $n >refs/t$n.lock; mv refs/t$n.lock refs/t$n; done &&
      cat refs/* | wc -l && rm -r refs && diff -r . /tmp/copy && echo same`;
    const ended = await shell([`${dir}:/src`], script, { input });
    expect(ended, ended.stderr).toMatchObject({ code: 0, stdout: `${refs}\nsame\n` });
    expect(treeOf(dir)).toEqual(treeOf(source));
  });

  test("64 MiB are the same on both sides", { timeout: SLOW_MS }, async () => {
    const data = randomBytes(64 << 20);
    writeFileSync(at("big"), data);
    const script = `
      cd /src; sha256sum big
      dd if=big of=copy bs=1M 2>/dev/null
      dd if=big of=odd bs=70001 count=100 2>/dev/null
      dd if=/dev/zero of=copy bs=1 seek=33554433 count=5 conv=notrunc 2>/dev/null
      sha256sum copy`;
    const ended = await shell([`${dir}:/src`], script);
    expect(ended.code, ended.stderr).toBe(0);
    const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
    const first = digest(data);
    expect(readFileSync(at("odd")).equals(data.subarray(0, 7_000_100))).toBe(true);
    data.fill(0, 33_554_433, 33_554_438);
    expect(ended.stdout).toBe(`${first}  big\n${digest(data)}  copy\n`);
    expect(readFileSync(at("copy")).equals(data)).toBe(true);
  });
});

test("a container that is ended in the middle of its writes leaves nothing behind", async () => {
  const running = home.spawn(
    argumentsOf(
      [`${dir}:/src`],
      "echo ready; while :; do cat /dev/zero | head -c 5000000 >/src/f; find /src >/dev/null; done",
    ),
  );
  await running.shows("ready");
  await sleep(500);
  running.child.kill("SIGTERM");
  running.child.kill("SIGKILL");
  await running.ended;
  expect(statSync(at("f")).size).toBeLessThanOrEqual(5_000_000);
  // The next command collects what the killed one could not.
  await home.run(["images"]);
  expect(await home.leftovers()).toEqual([]);
});
