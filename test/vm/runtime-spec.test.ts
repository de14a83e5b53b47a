/**
 * The guest as an OCI runtime: config.json given raw, and what a process inside then finds. docs/oci-runtime-spec.md
 * has every property; here is at least one row of each group, on one machine.
 */
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { DEFAULT_CAPABILITIES, DEFAULT_MOUNTS } from "../../src/runtime-spec/defaults.ts";
import { startRawMachine } from "../support/raw-machine.ts";
import type { Outcome, RawMachine } from "../support/raw-machine.ts";

let machine: RawMachine;
beforeAll(async () => {
  machine = await startRawMachine(`${inject("registry")}/flamebox/busybox:1`, inject("kernelDir"));
});
afterAll(async () => {
  await machine[Symbol.asyncDispose]();
});

type Json = Readonly<Record<string, unknown>>;

interface Changes {
  readonly process?: Json;
  readonly linux?: Json;
  readonly namespaces?: readonly Json[];
  readonly mounts?: readonly Json[];
  readonly top?: Json;
}

/** A config.json that runs a shell script, with the parts that a row is about. */
function config(script: string, changes: Changes = {}): object {
  const { process = {}, linux = {}, namespaces = [], mounts = [], top = {} } = changes;
  const capabilities = DEFAULT_CAPABILITIES;
  return {
    ociVersion: "1.2.0",
    process: {
      user: { uid: 0, gid: 0 },
      args: ["sh", "-c", script],
      env: ["PATH=/bin"],
      cwd: "/",
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: false,
      ...process,
    },
    root: { path: "rootfs" },
    mounts: [...DEFAULT_MOUNTS, ...mounts],
    linux: {
      namespaces: [...["pid", "mount", "ipc", "uts", "cgroup"].map((type) => ({ type })), ...namespaces],
      ...linux,
    },
    ...top,
  };
}

/** What the script wrote, and how it ended when it did not end well. */
async function run(script: string, changes: Changes = {}, user?: string): Promise<string> {
  const outcome = await machine.run(config(script, changes), user);
  return told(outcome);
}

function told({ stdout, stderr, exitCode, signal, error }: Outcome): string {
  if (error !== undefined) return error;
  const end = exitCode === 0 ? "" : `[${exitCode ?? `signal ${signal}`}]`;
  return `${stdout}${stderr}${end}`.trimEnd();
}

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

describe("process", () => {
  test.each<[string, string, Changes, string]>([
    [
      "rlimits",
      "ulimit -n; ulimit -Hn; ulimit -c; ulimit -u",
      {
        process: {
          rlimits: [
            { type: "RLIMIT_NOFILE", soft: 100, hard: 4_000 },
            { type: "RLIMIT_CORE", soft: 0, hard: 0 },
            { type: "RLIMIT_NPROC", soft: 50, hard: 60 },
          ],
        },
      },
      "100\n4000\n0\n50",
    ],
    [
      "umask and additional groups",
      "umask; id -G",
      { process: { user: { uid: 33, gid: 34, umask: 0o27, additionalGids: [5, 29] } } },
      "0027\n34 5 29",
    ],
    ["the usual umask", "umask", {}, "0022"],
    ["oomScoreAdj", "cat /proc/self/oom_score_adj", { process: { oomScoreAdj: 321 } }, "321"],
    ["no oomScoreAdj", "cat /proc/self/oom_score_adj", {}, "0"],
    [
      "ambient capabilities",
      "grep -E 'CapEff|CapAmb' /proc/self/status",
      {
        process: {
          user: { uid: 33, gid: 33 },
          capabilities: Object.fromEntries(
            ["bounding", "effective", "permitted", "inheritable", "ambient"].map((set) => [
              set,
              ["CAP_NET_RAW"],
            ]),
          ),
        },
      },
      "CapEff:\t0000000000002000\nCapAmb:\t0000000000002000",
    ],
    [
      "scheduler",
      "cut -d' ' -f19,41 /proc/self/stat",
      { process: { scheduler: { policy: "SCHED_BATCH", nice: 5 } } },
      "5 3",
    ],
    [
      "ioPriority",
      "ionice -p $$",
      { process: { ioPriority: { class: "IOPRIO_CLASS_BE", priority: 6 } } },
      "best-effort: prio 6",
    ],
    ["personality", "uname -m", { linux: { personality: { domain: "LINUX32" } } }, "i686"],
    [
      "domainname",
      "cat /proc/sys/kernel/domainname",
      { top: { hostname: "h", domainname: "d.example" } },
      "d.example",
    ],
    [
      "time namespace",
      "cut -d. -f1 /proc/uptime | sed 's/^1000[0-9][0-9][0-9]$/ahead/'",
      { namespaces: [{ type: "time" }], linux: { timeOffsets: { boottime: { secs: 1_000_000 } } } },
      "ahead",
    ],
    [
      "user namespace",
      "id -u; cat /proc/self/uid_map | tr -s ' '",
      {
        namespaces: [{ type: "user" }],
        linux: {
          uidMappings: [{ containerID: 0, hostID: 0, size: 1000 }],
          gidMappings: [{ containerID: 0, hostID: 0, size: 1000 }],
        },
        top: { mounts: DEFAULT_MOUNTS.filter(({ type }) => type !== "sysfs" && type !== "cgroup") },
      },
      "0\n 0 0 1000",
    ],
  ])("%s", async (_name, script, changes, expected) => {
    expect(await run(script, changes)).toBe(expected);
  });

  test("an unknown capability is left out and told", async () => {
    const outcome = await machine.run(
      config("echo ran", { process: { capabilities: { bounding: ["CAP_FUTURE"] } } }),
    );
    expect(outcome).toMatchObject({
      stdout: "ran\n",
      warnings: ['process.capabilities.bounding: "CAP_FUTURE" is unknown and left out'],
    });
  });
});

describe("mounts and paths", () => {
  const tmpfs = (destination: string, ...options: readonly string[]): Json => ({
    destination,
    type: "tmpfs",
    source: "tmpfs",
    options,
  });
  const propagation = "awk '$5 == \"/m\" { print $7 }' /proc/self/mountinfo | sed 's/:.*//'";
  test.each<[string, string, Changes, string]>([
    ["private is the usual", propagation, { mounts: [tmpfs("/m")] }, "-"],
    ["shared", propagation, { mounts: [tmpfs("/m", "shared")] }, "shared"],
    ["unbindable", propagation, { mounts: [tmpfs("/m", "runbindable")] }, "unbindable"],
    [
      "rootfsPropagation",
      "awk '$5 == \"/\" { print $7 }' /proc/self/mountinfo | sed 's/:.*//'",
      { linux: { rootfsPropagation: "shared" } },
      "shared",
    ],
    [
      "rro",
      "awk '$5 ~ \"^/b\" { print $5, substr($6, 1, 2) }' /proc/self/mountinfo",
      { mounts: [{ destination: "/b", type: "bind", source: "/sys", options: ["rbind", "rro"] }] },
      "/b ro\n/b/fs/cgroup ro",
    ],
    [
      "options of a file system",
      "grep ' /m ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1-5",
      { mounts: [tmpfs("/m", "nosuid", "nodev", "noexec", "ro", "size=4096k")] },
      "ro,nosuid,nodev,noexec,relatime",
    ],
    [
      "nosymfollow",
      "ln -s /etc/passwd /m/l; cat /m/l",
      { mounts: [tmpfs("/m", "nosymfollow")] },
      "cat: can't open '/m/l': Too many levels of symbolic links\n[1]",
    ],
    [
      "a read-only root",
      "touch /x",
      { top: { root: { path: "r", readonly: true } } },
      "touch: /x: Read-only file system\n[1]",
    ],
    [
      "masked paths",
      "cat /etc/passwd | wc -c; ls -A /home | wc -l; ls /bin/sh",
      { linux: { maskedPaths: ["/etc/passwd", "/home", "/not/there"] } },
      "0\n0\n/bin/sh",
    ],
    [
      "read-only paths",
      "touch /tmp/x; touch /x && echo made",
      { linux: { readonlyPaths: ["/tmp", "/not/there"] } },
      "made\ntouch: /tmp/x: Read-only file system",
    ],
    [
      "an idmapped mount",
      "stat -c '%u %g' /b; touch /b/mine 2>&1",
      {
        process: { user: { uid: 1000, gid: 1000 } },
        mounts: [
          {
            destination: "/b",
            type: "bind",
            source: "/tmp",
            options: ["rbind"],
            uidMappings: [{ containerID: 0, hostID: 1000, size: 10 }],
            gidMappings: [{ containerID: 0, hostID: 1000, size: 10 }],
          },
        ],
      },
      "1000 1000",
    ],
    [
      "an unknown option of a bind mount is refused",
      "",
      { mounts: [{ destination: "/b", type: "bind", source: "/", options: ["bind", "foo"] }] },
      'invalid-config: mounts[7].options: "foo" is not one of a bind mount',
    ],
  ])("%s", async (_name, script, changes, expected) => {
    expect(await run(script, changes)).toBe(expected);
  });
});

describe("sysctl", () => {
  test.each<[string, string, Changes, string]>([
    [
      "of the ipc namespace",
      "cat /proc/sys/kernel/msgmax",
      { linux: { sysctl: { "kernel.msgmax": "12345" } } },
      "12345",
    ],
    [
      "of the network",
      "cat /proc/sys/net/core/somaxconn",
      { linux: { sysctl: { "net.core.somaxconn": "777" } } },
      "777",
    ],
    ["of nobody's namespace", "", { linux: { sysctl: { "vm.swappiness": "1" } } }, "vm.swappiness"],
    ["of a namespace that is not there", "", { linux: { sysctl: { "net.no.such": "1" } } }, "net.no.such"],
  ])("%s", async (_name, script, changes, expected) => {
    const outcome = await run(script, changes);
    if (script !== "") expect(outcome).toBe(expected);
    else expect(outcome).toMatch(new RegExp(`^invalid-config: .*${expected.replaceAll(".", "\\.")}`));
  });
});

describe("linux.resources", () => {
  const show = (...files: readonly string[]): string => `cd /sys/fs/cgroup; cat ${files.join(" ")}`;
  const resources = (value: Json): Changes => ({ linux: { resources: value } });
  test.each<[string, string, Changes, string]>([
    [
      "memory, without swap",
      show("memory.max", "memory.low", "memory.swap.max"),
      resources({ memory: { limit: 67_108_864, reservation: 33_554_432, swap: 67_108_864 } }),
      "67108864\n33554432\n0",
    ],
    [
      "memory, with swap of its own",
      show("memory.max", "memory.swap.max"),
      resources({ memory: { limit: 67_108_864, swap: 134_217_728 } }),
      "67108864\n67108864",
    ],
    [
      "unlimited memory",
      show("memory.max", "memory.swap.max"),
      resources({ memory: { limit: -1 } }),
      "max\nmax",
    ],
    [
      "cpu",
      show("cpu.weight", "cpu.max", "cpuset.cpus", "cpuset.mems"),
      resources({ cpu: { shares: 1024, quota: 50_000, period: 100_000, cpus: "0", mems: "0" } }),
      "100\n50000 100000\n0\n0",
    ],
    ["an idle cpu", show("cpu.idle"), resources({ cpu: { idle: 1 } }), "1"],
    ["burst", show("cpu.max.burst"), resources({ cpu: { quota: 50_000, burst: 20_000 } }), "20000"],
    [
      "pids",
      `${show("pids.max")}; sh -c "sleep 1 & sleep 1 & sleep 1 & sleep 1" 2>&1; echo $?`,
      resources({ pids: { limit: 3 } }),
      "3\nsh: can't fork: Resource temporarily unavailable\n2",
    ],
    [
      "throttled disks",
      `${show("io.max")} | cut -d' ' -f2-`,
      resources({ blockIO: { throttleReadBpsDevice: [{ major: 254, minor: 0, rate: 1_048_576 }] } }),
      "rbps=1048576 wbps=max riops=max wiops=max",
    ],
    [
      "huge pages",
      show("hugetlb.2MB.max"),
      resources({ hugepageLimits: [{ pageSize: "2MB", limit: 4_194_304 }] }),
      "4194304",
    ],
    [
      "unified",
      show("memory.high", "cgroup.max.depth"),
      resources({ unified: { "memory.high": "1048576", "cgroup.max.depth": "3" } }),
      "1048576\n3",
    ],
    ["a relative cgroupsPath", "cat /proc/self/cgroup", { linux: { cgroupsPath: "mine/own" } }, "0::/"],
    [
      "unified, not of a controller",
      "",
      resources({ unified: { "../x.y": "1" } }),
      'invalid-config: linux.resources.unified["../x.y"]: not the file of a controller',
    ],
    [
      "a limit that the kernel refuses",
      "",
      resources({ cpu: { cpus: "900" } }),
      'invalid-config: linux.resources.cpu.cpus: "900": Numerical result out of range (os error 34)',
    ],
  ])("%s", async (_name, script, changes, expected) => {
    expect(await run(script, changes)).toBe(expected);
  });

  test("a weight is carried out or told", async () => {
    const outcome = await machine.run(config("echo ran", resources({ blockIO: { weight: 500 } })));
    expect(outcome.stdout).toBe("ran\n");
    expect([[], ["linux.resources.blockIO.weight: this machine's kernel has no I/O weights"]]).toContainEqual(
      outcome.warnings,
    );
  });
});
