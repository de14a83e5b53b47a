/** Options to config.json: what Docker's flags change in it, and what is refused. */
import { describe, expect, it } from "vitest";
import { ALL_CAPABILITIES } from "../../src/runtime-spec/capabilities.ts";
import { checkEnclosure, generate } from "../../src/runtime-spec/generate.ts";
import type { EnclosureOptions, ProcessRequest } from "../../src/runtime-spec/generate.ts";
import { UNLIMITED } from "../../src/runtime-spec/rlimits.ts";

const base: ProcessRequest = {
  containerId: "ab12",
  hostname: "box",
  share: { memoryLimitBytes: 400 << 20 },
  kernelRelease: "6.12.1",
};

function configOf(options: Partial<ProcessRequest>) {
  return generate({ Cmd: ["sh"] }, { ...base, ...options });
}

function failure(options: Partial<ProcessRequest>): {
  code: string;
  message: string;
  hint: string | undefined;
} {
  try {
    checkEnclosure({ ...base, ...options });
  } catch (error) {
    return error as { code: string; message: string; hint: string | undefined };
  }
  throw new Error("it was accepted");
}

const short = (names: readonly string[]) => names.map((name) => name.replace("CAP_", "")).join(" ");
const DEFAULT =
  "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP";

describe("capabilities", () => {
  it.each<[string, EnclosureOptions, string]>([
    ["the default ones", {}, DEFAULT],
    ["one more, in lower case", { capAdd: ["net_admin"] }, DEFAULT.replace("NET_RAW", "NET_ADMIN NET_RAW")],
    ["one more, with its prefix", { capAdd: ["CAP_SYSLOG"] }, `${DEFAULT} SYSLOG`],
    ["one less", { capDrop: ["NET_RAW"] }, DEFAULT.replace(" NET_RAW", "")],
    ["dropped and added", { capDrop: ["CHOWN"], capAdd: ["CHOWN"] }, DEFAULT],
    ["none", { capDrop: ["all"] }, ""],
    ["none but one", { capDrop: ["ALL"], capAdd: ["KILL"] }, "KILL"],
    ["all", { capAdd: ["ALL"] }, short(ALL_CAPABILITIES)],
    ["all but one", { capAdd: ["ALL"], capDrop: ["CHOWN"] }, short(ALL_CAPABILITIES.slice(1))],
    [
      "all with privileges, whatever is dropped",
      { privileged: true, capDrop: ["ALL"] },
      short(ALL_CAPABILITIES),
    ],
  ])("%s", (_name, options, expected) => {
    const { capabilities } = configOf(options).process;
    expect(short(capabilities.bounding)).toBe(expected);
    expect(capabilities.effective).toEqual(capabilities.bounding);
    expect(capabilities.permitted).toEqual(capabilities.bounding);
  });

  it("are those that Linux 6.12 has", () => {
    expect(ALL_CAPABILITIES).toHaveLength(41);
    expect(new Set(ALL_CAPABILITIES).size).toBe(41);
  });

  it.each([
    ["NET_ADMN", "did you mean CAP_NET_ADMIN?"],
    ["CAP_SYS_ADMINS", "did you mean CAP_SYS_ADMIN?"],
    ["EVERYTHING", "capabilities(7) lists them; ALL stands for every one"],
    ["", "capabilities(7) lists them; ALL stands for every one"],
  ])("refuse '%s'", (name, hint) => {
    expect(failure({ capAdd: [name] })).toMatchObject({ code: "invalid-option", hint });
    expect(failure({ capDrop: [name] })).toMatchObject({ code: "invalid-option", hint });
  });
});

describe("with privileges", () => {
  const config = configOf({ privileged: true });

  it("nothing is hidden, filtered or read-only, and every device may be used", () => {
    expect(config.linux.maskedPaths).toEqual([]);
    expect(config.linux.readonlyPaths).toEqual([]);
    expect(config.linux.seccomp).toBeUndefined();
    expect(config.linux.resources.devices).toEqual([{ allow: true, access: "rwm" }]);
    expect(config.linux.devices?.map(({ path }) => path)).toEqual(["/dev/fuse", "/dev/hwrng", "/dev/kmsg"]);
    for (const destination of ["/sys", "/sys/fs/cgroup"]) {
      const options = config.mounts.find((mount) => mount.destination === destination)?.options;
      expect(options).toContain("rw");
      expect(options).not.toContain("ro");
    }
  });

  it("a filter that is asked for stays", () => {
    const seccomp = { profile: '{"defaultAction":"SCMP_ACT_ALLOW"}' };
    expect(configOf({ privileged: true, seccomp }).linux.seccomp).toEqual({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [],
    });
  });
});

describe("options that are members of config.json", () => {
  it.each<[string, Partial<ProcessRequest>, object]>([
    ["no new privileges", { noNewPrivileges: true }, { process: { noNewPrivileges: true } }],
    ["the OOM score", { oomScoreAdj: -500 }, { process: { oomScoreAdj: -500 } }],
    ["a read-only root", { readOnly: true }, { root: { readonly: true } }],
    ["the NIS domain", { domainname: "example.org" }, { domainname: "example.org" }],
    ["annotations", { annotations: { "a.b/c": "d" } }, { annotations: { "a.b/c": "d" } }],
    ["open system paths", { systemPaths: "unconfined" }, { linux: { maskedPaths: [], readonlyPaths: [] } }],
    [
      "sysctls, Docker's own among them",
      { sysctls: { "net.core.somaxconn": "1024", "net.ipv4.ip_unprivileged_port_start": "1024" } },
      {
        linux: {
          sysctl: {
            "net.core.somaxconn": "1024",
            "net.ipv4.ip_unprivileged_port_start": "1024",
            "net.ipv4.ping_group_range": "0 2147483647",
          },
        },
      },
    ],
    [
      "memory",
      { memoryReservationBytes: 100 << 20, memorySwapBytes: 2 ** 30 },
      { linux: { resources: { memory: { limit: 400 << 20, reservation: 100 << 20, swap: 2 ** 30 } } } },
    ],
    ["memory by default", {}, { linux: { resources: { memory: { limit: 400 << 20, swap: 400 << 20 } } } }],
    ["endless swap", { memorySwapBytes: -1 }, { linux: { resources: { memory: { swap: -1 } } } }],
    [
      "CPU time",
      {
        cpuShares: 512,
        share: { memoryLimitBytes: 1 << 20, cpu: { quotaUs: 50_000, periodUs: 100_000 } },
      },
      { linux: { resources: { cpu: { shares: 512, quota: 50_000, period: 100_000 } } } },
    ],
    ["a limit of processes", { pidsLimit: 100 }, { linux: { resources: { pids: { limit: 100 } } } }],
    [
      "the weight of disk access",
      { blkioWeight: 300 },
      { linux: { resources: { blockIO: { weight: 300 } } } },
    ],
    [
      "a device of the machine",
      { devices: [{ path: "/dev/fuse", target: "/dev/f", access: "rw" }] },
      {
        linux: {
          devices: [{ path: "/dev/f", type: "c", major: 10, minor: 229, fileMode: 0o666, uid: 0, gid: 0 }],
        },
      },
    ],
  ])("%s", (_name, options, expected) => {
    expect(configOf(options)).toMatchObject(expected);
  });

  it.each<[string, Partial<ProcessRequest>]>([
    ["endless processes", { pidsLimit: -1 }],
    ["no processes at all, which is Docker's word for endless", { pidsLimit: 0 }],
    ["a weight of nothing", { blkioWeight: 0, cpuShares: 0 }],
  ])("%s leaves its limit out", (_name, options) => {
    expect(Object.keys(configOf(options).linux.resources)).toEqual(["devices", "memory"]);
  });
});

describe("ulimits", () => {
  it.each([
    ["the default", [], [{ type: "RLIMIT_NOFILE", soft: 1_048_576, hard: 1_048_576 }]],
    [
      "the last of a name, in the default's place",
      [
        { name: "nofile", soft: 1, hard: 2 },
        { name: "nofile", soft: 3, hard: 4 },
      ],
      [{ type: "RLIMIT_NOFILE", soft: 3, hard: 4 }],
    ],
    [
      "none",
      [{ name: "memlock", soft: 5, hard: -1 }],
      [
        { type: "RLIMIT_NOFILE", soft: 1_048_576, hard: 1_048_576 },
        { type: "RLIMIT_MEMLOCK", soft: 5, hard: UNLIMITED },
      ],
    ],
  ])("%s", (_name, ulimits, rlimits) => {
    expect(configOf({ ulimits }).process.rlimits).toEqual(rlimits);
  });

  it("write infinity as a number that 64 bits without a sign hold", () => {
    const text = JSON.stringify({ hard: UNLIMITED });
    expect(BigInt(/\d+/.exec(text)?.[0] ?? 0)).toBeLessThan(2n ** 64n);
    expect(BigInt(/\d+/.exec(text)?.[0] ?? 0)).toBeGreaterThan(2n ** 63n);
  });

  it.each([
    ["a name that is none", { name: "nofiles", soft: 1, hard: 1 }, "did you mean nofile?"],
    ["a soft limit above the hard one", { name: "core", soft: 2, hard: 1 }, undefined],
    ["an endless soft limit below a hard one", { name: "core", soft: -1, hard: 1 }, undefined],
    ["a fraction", { name: "core", soft: 0.5, hard: 1 }, undefined],
    ["-2", { name: "core", soft: -2, hard: 1 }, undefined],
    ["a name of the prototype's", { name: "constructor", soft: 1, hard: 1 }, expect.any(String)],
  ])("refuse %s", (_name, ulimit, hint) => {
    expect(failure({ ulimits: [ulimit] })).toMatchObject({ code: "invalid-option", hint });
  });
});

describe("devices", () => {
  const rules = (options: EnclosureOptions) =>
    configOf(options).linux.resources.devices.map(
      ({ allow, type = "a", major = "*", minor = "*", access }) =>
        `${allow ? "+" : "-"}${type} ${major}:${minor} ${access}`,
    );

  it("are denied, but for those that every container has", () => {
    expect(rules({})).toEqual([
      "-a *:* rwm",
      "+c *:* m",
      "+b *:* m",
      "+c 1:3 rwm",
      "+c 1:5 rwm",
      "+c 1:7 rwm",
      "+c 1:8 rwm",
      "+c 1:9 rwm",
      "+c 5:0 rwm",
      "+c 5:1 rwm",
      "+c 5:2 rwm",
      "+c 136:* rwm",
    ]);
    expect(configOf({}).linux.devices).toBeUndefined();
  });

  it("are allowed as asked for", () => {
    const options: EnclosureOptions = {
      devices: [{ path: "/dev/fuse", access: "r" }],
      deviceCgroupRules: [{ type: "b", major: 7, access: "rw" }],
    };
    expect(rules(options).slice(-2)).toEqual(["+c 10:229 r", "+b 7:* rw"]);
  });

  it("that every container has can be named, and are not made twice", () => {
    expect(configOf({ devices: [{ path: "/dev/null" }] }).linux.devices).toBeUndefined();
  });

  it.each<[string, EnclosureOptions, string]>([
    ["a device of the host", { devices: [{ path: "/dev/sda" }] }, "has no devices of this host"],
    ["a name of the prototype's", { devices: [{ path: "constructor" }] }, "has no devices of this host"],
    ["a relative target", { devices: [{ path: "/dev/fuse", target: "dev/f" }] }, "no absolute path"],
    [
      "a target that climbs",
      { devices: [{ path: "/dev/fuse", target: "/dev/../../f" }] },
      "no absolute path",
    ],
    ["access that is none", { devices: [{ path: "/dev/fuse", access: "rx" }] }, "not some of r, w, m"],
    ["access said twice", { devices: [{ path: "/dev/fuse", access: "rr" }] }, "not some of r, w, m"],
    ["more than a few", { devices: Array.from({ length: 65 }, () => ({ path: "/dev/fuse" })) }, "at most 64"],
  ])("refuse %s", (_name, options, message) => {
    expect(failure(options).message).toContain(message);
  });
});

describe("mounts", () => {
  const mountAt = (destination: string, options: Partial<ProcessRequest>) =>
    configOf(options).mounts.filter((mount) => mount.destination === destination);

  it("have /dev/shm in the size that is asked for", () => {
    expect(mountAt("/dev/shm", { shmSizeBytes: 1 << 20 })[0]?.options).toEqual([
      "nosuid",
      "noexec",
      "nodev",
      "mode=1777",
      "size=1048576",
    ]);
  });

  it("have a tmpfs with Docker's options before the user's", () => {
    const tmpfs = [{ target: "/run//x/", options: ["size=64m", "exec"] }];
    expect(mountAt("/run/x", { tmpfs })).toEqual([
      {
        destination: "/run/x",
        type: "tmpfs",
        source: "tmpfs",
        options: ["noexec", "nosuid", "nodev", "size=64m", "exec"],
      },
    ]);
  });

  it("have the deeper ones last, and none twice", () => {
    const tmpfs = [{ target: "/a/b/c" }, { target: "/dev/shm", options: ["size=1g"] }, { target: "/a" }];
    expect(
      configOf({ tmpfs })
        .mounts.filter(({ type }) => type === "tmpfs")
        .map(({ destination }) => destination),
    ).toEqual(["/dev", "/a", "/dev/shm", "/a/b/c"]);
  });

  it("leave a place to the volume that is mounted there", () => {
    expect(mountAt("/dev/mqueue", { mountedAt: ["/dev/mqueue"] })).toEqual([]);
  });

  it.each<[string, Partial<ProcessRequest>, string]>([
    ["a relative path", { tmpfs: [{ target: "run" }] }, "is not an absolute path"],
    ["the root", { tmpfs: [{ target: "/x/.." }] }, "cannot stand for the container's root"],
    ["the kernel's own", { tmpfs: [{ target: "/proc/self/x" }] }, "which belongs to the kernel"],
    ["NUL", { tmpfs: [{ target: "/a\0b" }] }, "is not an absolute path"],
    ["a path without end", { tmpfs: [{ target: `/${"a".repeat(5000)}` }] }, "is not an absolute path"],
    ["an option that is none", { tmpfs: [{ target: "/a", options: ["bind"] }] }, "which tmpfs does not have"],
    ["a mode that is none", { tmpfs: [{ target: "/a", options: ["mode=9"] }] }, "which tmpfs does not have"],
    ["/dev/shm of nothing", { shmSizeBytes: 0 }, "positive number"],
  ])("refuse %s", (_name, options, message) => {
    expect(failure(options).message).toContain(message);
  });
});

describe("limits", () => {
  it.each<[string, Partial<ProcessRequest>, string]>([
    ["less memory and swap than memory", { memorySwapBytes: 1 << 20 }, "is less than that of memory"],
    ["more reserved than there is", { memoryReservationBytes: 2 ** 40 }, "than the container may use"],
    ["an OOM score out of range", { oomScoreAdj: 1001 }, "from -1000 to 1000"],
    ["shares out of range", { cpuShares: 1 }, "from 2 to 262144"],
    ["a weight out of range", { blkioWeight: 1001 }, "from 10 to 1000"],
    ["processes in fractions", { pidsLimit: 1.5 }, "a whole number"],
    ["a sysctl of the machine's", { sysctls: { "vm.swappiness": "1" } }, "cannot be set for a container"],
    [
      "a sysctl that climbs",
      { sysctls: { "net.../../kernel.hostname": "x" } },
      "cannot be set for a container",
    ],
    ["a sysctl of two lines", { sysctls: { "net.core.somaxconn": "1\n2" } }, "is not one line"],
    ["a domain that is none", { domainname: "a b" }, "not a domain name"],
    ["an annotation without a name", { annotations: { "": "x" } }, "has no name"],
  ])("refuse %s", (_name, options, message) => {
    expect(failure(options)).toMatchObject({
      code: "invalid-option",
      message: expect.stringContaining(message) as string,
    });
  });
});
