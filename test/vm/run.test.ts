/** `flamebox run` as a person uses it: the built command line, a real registry, a real machine. */
import { createHash, randomBytes } from "node:crypto";
import { release } from "node:os";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Ended, Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
let home: Home;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  const pulled = await home.run(["pull", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

/** `name: value` lines of a script's output. */
function labelled({ stdout }: Ended): Record<string, string> {
  return Object.fromEntries(stdout.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2)));
}

describe("exit codes", () => {
  test.each([
    ["0", ["true"], 0, ""],
    ["the process's own", ["sh", "-c", "exit 7"], 7, ""],
    ["255", ["sh", "-c", "exit 255"], 255, ""],
    ["127 when the command is not in the image", ["no-such-command"], 127, "no-such-command"],
    ["127 when a path is not in the image", ["/no/such/command"], 127, "/no/such/command"],
    ["126 when the file is no program", ["/etc/not-executable"], 126, "/etc/not-executable"],
  ])("%s", async (_name, command, code, named) => {
    const ended = await home.run(["run", "--rm", "-q", busybox, ...command]);
    expect(ended, ended.stderr).toMatchObject({ code, signal: null, stdout: "" });
    expect(ended.stderr).toMatch(named === "" ? /^$/ : named);
  });
});

describe("what the process finds", () => {
  let seen: Record<string, string>;

  beforeAll(async () => {
    const script = `
      echo "kernel: $(uname -r)"
      echo "pid: $$"
      echo "processes: $(ls /proc | grep -c '^[0-9]')"
      echo "user: $(id -u) $(id -g) $(id -G)"
      echo "from the image: $IMAGE_SAYS"
      echo "from -e: $GIVEN"
      echo "replaced: $PATH"
      echo "directory: $(pwd)"
      echo "hostname: $(hostname)"
      echo "in hosts: $(grep -c box-of-mine /etc/hosts) $(grep 192.0.2.7 /etc/hosts | tr '\\t' ' ')"
      echo "resolv.conf: $(tr '\\n' ' ' </etc/resolv.conf)"
      echo "tmp: $(stat -c %a /tmp)"
      echo "devices: $(for d in null zero full random urandom tty pts shm; do [ -e /dev/$d ] && echo -n $d' '; done)"
      echo "written: $(echo text >/home/www/file && cat /home/www/file)"
      echo "root is: $(grep ' / ' /proc/mounts | cut -d' ' -f1,3)"
      echo "sysfs: $(ls /sys | grep -c kernel)"
      echo "stdin: $(cat | wc -c)"`;
    const options = [
      "-e",
      "GIVEN=a b",
      "-w",
      "/home/www/made/here",
      "-h",
      "box-of-mine",
      "--add-host",
      "other:192.0.2.7",
      "--dns",
      "192.0.2.53",
    ];
    const ended = await home.run(["run", "--rm", ...options, busybox, "sh", "-c", script], {
      input: "not for the process",
    });
    if (ended.code !== 0) throw new Error(ended.stderr);
    seen = labelled(ended);
  });

  test.each([
    ["process 1 of its own", "pid", "1"],
    ["root", "user", "0 0 0"],
    ["the image's environment", "from the image", "hello"],
    ["the command line's environment", "from -e", "a b"],
    ["the image's PATH", "replaced", "/bin:/sbin:/usr/bin:/usr/sbin"],
    ["the working directory, made for it", "directory", "/home/www/made/here"],
    ["its hostname", "hostname", "box-of-mine"],
    ["/etc/hosts", "in hosts", "1 192.0.2.7 other"],
    ["/etc/resolv.conf", "resolv.conf", "nameserver 192.0.2.53 "],
    ["/tmp as the image has it", "tmp", "1777"],
    ["the usual devices", "devices", "null zero full random urandom tty pts shm "],
    ["a root it can write to", "written", "text"],
    ["an overlay", "root is", "overlay overlay"],
    ["/sys", "sysfs", "1"],
    ["/dev/null as stdin without -i", "stdin", "0"],
  ])("%s", (_name, label, value) => {
    expect(seen[label]).toBe(value);
  });

  test("a kernel that is not the host's", () => {
    expect(seen["kernel"]).toMatch(/^6\.12\..*cloud-amd64$/);
    expect(seen["kernel"]).not.toBe(release());
  });

  test("no process but its own", () => {
    expect(Number(seen["processes"])).toBeLessThanOrEqual(5);
  });

  test("nothing that an earlier container wrote", async () => {
    const ended = await home.run(["run", "--rm", "-q", busybox, "ls", "/home/www"]);
    expect(ended).toMatchObject({ code: 0, stdout: "", stderr: "" });
  });
});

describe("users", () => {
  test.each([
    ["by name", "www-data", "33 33 33 29"],
    ["by number", "1234", "1234 0 0"],
    ["with a group by name", "nobody:audio", "65534 29 29"],
    ["both by number", "7:8", "7 8 8"],
  ])("%s", async (_name, user, ids) => {
    const ended = await home.run([
      "run",
      "--rm",
      "-q",
      "-u",
      user,
      busybox,
      "sh",
      "-c",
      "echo $(id -u) $(id -g) $(id -G)",
    ]);
    expect(ended, ended.stderr).toMatchObject({ code: 0, stdout: `${ids}\n` });
  });

  test("one that the image does not have", async () => {
    const ended = await home.run(["run", "--rm", "-q", "-u", "nobody-knows", busybox, "true"]);
    expect(ended).toMatchObject({ code: 125, stdout: "" });
    expect(ended.stderr).toContain("nobody-knows");
  });
});

describe("streams", () => {
  test("stdin reaches the process, and its end too", async () => {
    expect(await home.run(["run", "--rm", "-q", "-i", busybox, "cat"], { input: "hi\n" })).toMatchObject({
      code: 0,
      stdout: "hi\n",
    });
  });

  test("stdout and stderr stay apart", async () => {
    const ended = await home.run([
      "run",
      "--rm",
      "-q",
      busybox,
      "sh",
      "-c",
      "echo out; echo err >&2; exit 3",
    ]);
    expect(ended).toMatchObject({ code: 3, stdout: "out\n", stderr: "err\n" });
  });

  test("megabytes of bytes arrive as they are, both ways", async () => {
    const input = randomBytes(8 << 20);
    const ended = await home.run(["run", "--rm", "-q", "-i", busybox, "cat"], { input });
    expect(ended.code).toBe(0);
    const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
    expect(digest(Buffer.from(ended.stdout, "latin1"))).toBe(digest(input));
  });

  test("-t gives a terminal, without one on this side too", async () => {
    const ended = await home.run([
      "run",
      "--rm",
      "-q",
      "-t",
      busybox,
      "sh",
      "-c",
      "tty; test -t 1 && echo yes; stty size",
    ]);
    expect(ended, ended.stderr).toMatchObject({ code: 0, stderr: "" });
    expect(ended.stdout).toMatch(/^\/dev\/pts\/0\r\nyes\r\n\d+ \d+\r\n$/);
  });
});

describe("interruption", () => {
  test("a signal is the process's to handle, and its exit code counts", async () => {
    const script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done";
    const running = home.spawn(["run", "--rm", "-q", busybox, "sh", "-c", script]);
    await running.shows("ready");
    running.child.kill("SIGINT");
    expect(await running.ended).toMatchObject({ code: 3, stdout: "ready\ncaught\n" });
  });

  test("a second Ctrl-C ends a process that does not listen", async () => {
    const running = home.spawn([
      "run",
      "--rm",
      "-q",
      busybox,
      "sh",
      "-c",
      "trap '' INT; echo ready; sleep 1000",
    ]);
    await running.shows("ready");
    running.child.kill("SIGINT");
    running.child.kill("SIGINT");
    // Two signals at once may arrive as one.
    const again = setInterval(() => running.child.kill("SIGINT"), 300);
    const { code, signal } = await running.ended;
    clearInterval(again);
    expect([code, signal]).toEqual([130, null]);
  });

  test("Ctrl-C before the machine is up ends it all the same", async () => {
    const running = home.spawn(["run", "--rm", "-q", busybox, "sleep", "1000"]);
    await new Promise((resolve) => setTimeout(resolve, 700));
    const again = setInterval(() => running.child.kill("SIGINT"), 300);
    const { code } = await running.ended;
    clearInterval(again);
    expect(code).not.toBe(0);
    expect(await home.leftoverProcesses()).toEqual([]);
    // The second one does not wait for what the first has begun: the next command puts it right.
    await home.run(["ps", "-a"]);
    expect(await home.leftovers()).toEqual([]);
  });

  test("a killed flamebox takes its machine along, and the next one clears up", async () => {
    const running = home.spawn(["run", "--rm", "-q", busybox, "sh", "-c", "echo ready; sleep 1000"]);
    await running.shows("ready");
    running.child.kill("SIGKILL");
    await running.ended;
    expect(await home.leftoverProcesses()).toEqual([]);
    expect(await home.run(["run", "--rm", "-q", busybox, "true"])).toMatchObject({ code: 0 });
    expect(await home.leftovers()).toEqual([]);
  });
});

test("after all of this nothing is left: no process, no socket, no file", async () => {
  expect(await home.leftovers()).toEqual([]);
});
