/** What a container may not do, and hooks: config.json given raw, and what a process inside then finds. */
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { config, told } from "../support/raw-config.ts";
import type { Changes, Json } from "../support/raw-config.ts";
import { startRawMachine } from "../support/raw-machine.ts";
import type { RawMachine } from "../support/raw-machine.ts";

let machine: RawMachine;
beforeAll(async () => {
  machine = await startRawMachine(`${inject("registry")}/flamebox/busybox:1`, inject("kernelDir"));
});
afterAll(async () => {
  await machine[Symbol.asyncDispose]();
});

const run = async (script: string, changes: Changes = {}, user?: string): Promise<string> =>
  told(await machine.run(config(script, changes), user));

const errno = (names: readonly string[], errnoRet?: number, args?: readonly Json[]): Json => ({
  names,
  action: "SCMP_ACT_ERRNO",
  ...(errnoRet !== undefined && { errnoRet }),
  ...(args && { args }),
});
const seccomp = (...syscalls: readonly Json[]): Json => ({
  seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls },
});
/** All that a static busybox calls to say a word. */
const FEW = {
  seccomp: {
    defaultAction: "SCMP_ACT_ERRNO",
    architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    syscalls: [
      {
        names:
          "execve brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat getrandom mprotect mmap getuid write exit_group uname prctl fstat newfstatat".split(
            " ",
          ),
        action: "SCMP_ACT_ALLOW",
      },
    ],
  },
};

describe("linux.seccomp", () => {
  const mkdir = ["mkdir", "mkdirat"];
  test.each<[string, string, Changes, string]>([
    [
      "errno",
      "mkdir /tmp/a",
      { linux: seccomp(errno(mkdir)) },
      "mkdir: can't create directory '/tmp/a': Operation not permitted\n[1]",
    ],
    [
      "errnoRet",
      "mkdir /tmp/a",
      { linux: seccomp(errno(mkdir, 28)) },
      "mkdir: can't create directory '/tmp/a': No space left on device\n[1]",
    ],
    [
      "kill",
      "chroot / true; echo $?",
      { linux: seccomp({ names: ["chroot"], action: "SCMP_ACT_KILL_PROCESS" }) },
      "159\nBad system call",
    ],
    [
      "an argument",
      "touch /tmp/f; chmod 700 /tmp/f && chmod 777 /tmp/f; stat -c %a /tmp/f",
      {
        linux: seccomp(errno(["chmod", "fchmodat"], 30, [{ index: 1, op: "SCMP_CMP_EQ", value: 0o777 }])),
      },
      "700\nchmod: /tmp/f: Read-only file system",
    ],
    [
      "bits of an argument",
      "touch /tmp/f; chmod 700 /tmp/f && chmod 4755 /tmp/f; stat -c %a /tmp/f",
      {
        linux: seccomp(
          errno(["chmod", "fchmodat"], 30, [
            { index: 1, op: "SCMP_CMP_MASKED_EQ", value: 0o4000, valueTwo: 0o4000 },
          ]),
        ),
      },
      "700\nchmod: /tmp/f: Read-only file system",
    ],
    [
      "is there without no_new_privs",
      "grep -E 'Seccomp:|NoNewPrivs:' /proc/self/status",
      { linux: seccomp(errno(mkdir)) },
      "NoNewPrivs:\t0\nSeccomp:\t2",
    ],
    [
      "is there with no_new_privs",
      "grep -E 'Seccomp:|NoNewPrivs:' /proc/self/status",
      { linux: seccomp(errno(mkdir)), process: { noNewPrivileges: true } },
      "NoNewPrivs:\t1\nSeccomp:\t2",
    ],
    [
      "gives no capability",
      "grep -E 'CapPrm|CapEff' /proc/self/status",
      { linux: seccomp(errno(mkdir)) },
      "CapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb",
    ],
    [
      "need not allow more than the program does",
      "",
      { linux: FEW, process: { args: ["echo", "a word"] } },
      "a word",
    ],
    [
      "tells a missing command in its words",
      "",
      { linux: FEW, process: { args: ["no-such"] } },
      'command-not-found: exec: "no-such": not found in PATH',
    ],
    [
      "a listener",
      "",
      { linux: { seccomp: { defaultAction: "SCMP_ACT_ALLOW", listenerPath: "/x" } } },
      "invalid-config: linux.seccomp.listenerPath: not supported: no listener of the host's is in the machine",
    ],
  ])("%s", async (_name, script, changes, expected) => {
    expect(await run(script, changes)).toBe(expected);
  });

  test("another user has nothing of what the filter needed", async () => {
    const script = "grep -E 'CapPrm|CapEff|CapAmb|Seccomp:' /proc/self/status";
    const none = "0000000000000000";
    expect(await run(script, { linux: seccomp(errno(mkdir)) }, "www-data")).toBe(
      `CapPrm:\t${none}\nCapEff:\t${none}\nCapAmb:\t${none}\nSeccomp:\t2`,
    );
  });

  test("an unknown call is told", async () => {
    const outcome = await machine.run(config("echo ran", { linux: seccomp(errno(["mkdir", "from_2031"])) }));
    expect(outcome).toMatchObject({
      stdout: "ran\n",
      warnings: ["linux.seccomp: unknown system calls are skipped: from_2031"],
    });
  });
});

describe("devices", () => {
  const disk = `disk=$(cat /sys/block/vda/dev); mknod /tmp/d b \${disk%:*} \${disk#*:}; `;
  const read = `${disk} dd if=/tmp/d of=/dev/null bs=512 count=1 2>&1 | head -n 1 | cut -c1-40`;
  const none = { allow: false, access: "rwm" };
  test.each<[string, string, Changes, string]>([
    [
      "a disk is not for a container",
      read,
      { linux: { resources: { devices: [none] } } },
      "dd: can't open '/tmp/d': Operation not p",
    ],
    ["nor without any rule", read, {}, "dd: can't open '/tmp/d': Operation not p"],
    [
      "the last rule decides",
      `${read}; (echo >/tmp/d) 2>&1`,
      { linux: { resources: { devices: [none, { allow: true, type: "b", access: "r" }] } } },
      "1+0 records in\nsh: can't create /tmp/d: Operation not permitted\n[1]",
    ],
    [
      "those that are always there",
      "for d in null zero full random urandom tty; do echo -n $d; head -c 0 /dev/$d; done 2>&1; mknod /tmp/n c 1 3; echo x >/tmp/n",
      { linux: { resources: { devices: [none] } } },
      "nullzerofullrandomurandomttyhead: /dev/tty: No such device or address",
    ],
    [
      "nodes are made as told",
      "stat -c '%a %u %g %t:%T %F' /dev/sub/own /dev/pipe /dev/null",
      {
        linux: {
          devices: [
            { path: "/dev/sub/own", type: "c", major: 10, minor: 200, fileMode: 0o640, uid: 33, gid: 5 },
            { path: "/dev/pipe", type: "p", fileMode: 0o600 },
          ],
        },
      },
      "640 33 5 a:c8 character special file\n600 0 0 0:0 fifo\n666 0 0 1:3 character special file",
    ],
  ])("%s", async (_name, script, changes, expected) => {
    expect(await run(script, changes)).toBe(expected);
  });
});

describe("hooks", () => {
  const hook = (script: string, more: Json = {}): Json => ({
    path: "/bin/sh",
    args: ["sh", "-c", script],
    ...more,
  });
  const keep = (name: string): Json =>
    hook(`{ cat; echo; readlink /proc/self/ns/pid; hostname; id -u; echo $GIVEN; } >/hook.${name}`, {
      env: ["PATH=/bin", `GIVEN=${name}`],
    });

  test("each runs at its time and place", async () => {
    const names = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"];
    const hooks = Object.fromEntries(names.map((name) => [name, [keep(name)]]));
    const poststop = [hook("cat >&2; exit 3", { env: ["PATH=/bin"] })];
    const script = `while ! [ -s /hook.poststart ]; do sleep 0.1; done; sleep 0.3
      readlink /proc/self/ns/pid; hostname
      for n in ${names.join(" ")}; do cat /hook.$n; done`;
    const outcome = await machine.run(
      config(script, {
        top: { hostname: "inside", annotations: { k: "v" }, hooks: { ...hooks, poststop } },
      }),
    );
    expect(outcome.error).toBeUndefined();
    const [ownPid, ownHost, ...lines] = outcome.stdout.trimEnd().split("\n");
    expect(ownHost).toBe("inside");
    const told = names.map((name, index) => {
      const [state = "", pidNamespace, host, uid, given] = lines.slice(index * 5, index * 5 + 5);
      expect({ name, uid, given }).toEqual({ name, uid: "0", given: name });
      const { status, id, annotations, pid } = JSON.parse(state) as Record<string, unknown>;
      expect({ id, annotations }).toEqual({
        id: expect.stringMatching(/^c\d+$/) as string,
        annotations: { k: "v" },
      });
      return [name, status, typeof pid, pidNamespace === ownPid ? "container" : "machine", host];
    });
    const outside = (told[0]?.[4] ?? "") as string;
    expect(outside).not.toBe("inside");
    expect(told).toEqual([
      ["prestart", "creating", "number", "machine", outside],
      ["createRuntime", "creating", "number", "machine", outside],
      ["createContainer", "creating", "undefined", "container", "inside"],
      ["startContainer", "created", "number", "container", "inside"],
      ["poststart", "running", "number", "machine", outside],
    ]);
    expect(machine.console()).toMatch(/hooks\.poststop\[0\] \/bin\/sh: exit code 3: .*"status":"stopped"/);
  });

  test.each<[string, Json, string]>([
    [
      "a failure ends the create",
      { createRuntime: [hook("echo no such luck >&2; exit 9")] },
      "failed: hooks.createRuntime[0] /bin/sh: exit code 9: no such luck",
    ],
    [
      "a failure in the container too",
      { createContainer: [hook("exit 0"), hook("exit 4")] },
      "failed: hooks.createContainer[1] /bin/sh: exit code 4",
    ],
    [
      "a failure ends the start",
      { startContainer: [hook("kill -9 $$")] },
      "failed: hooks.startContainer[0] /bin/sh: signal 9",
    ],
    [
      "time is bounded",
      { prestart: [hook("sleep 60", { timeout: 1 })] },
      "failed: hooks.prestart[0] /bin/sh: not done after 1 s",
    ],
    [
      "a program that is not there",
      { prestart: [{ path: "/bin/no-such" }] },
      "failed: hooks.prestart[0] /bin/no-such: exit code 125: No such file or directory",
    ],
    ["a poststart that fails changes nothing", { poststart: [hook("exit 1")] }, "ran"],
    [
      "a path that is not absolute",
      { poststop: [{ path: "sh" }] },
      "invalid-config: hooks.poststop[0].path: sh is not absolute",
    ],
  ])("%s", async (_name, hooks, expected) => {
    expect(await run("echo ran", { top: { hooks } })).toBe(expected);
  });
});
