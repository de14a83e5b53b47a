/**
 * The guest as an OCI runtime: config.json given raw, and what a process inside then finds. docs/oci-runtime-spec.md
 * has every property; here is at least one row of each group, on one machine. Seccomp, devices and hooks are in
 * runtime-confinement.test.ts.
 */
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { DEFAULT_MOUNTS } from "../../src/runtime-spec/defaults.ts";
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
    [
      "of a namespace that is not there",
      "",
      { linux: { sysctl: { "net.no.such": "1" } } },
      'invalid-config: linux.sysctl "net.no.such"',
    ],
  ])("%s", async (_name, script, changes, expected) => {
    expect(await run(script, changes)).toContain(expected);
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
