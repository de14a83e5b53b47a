import { describe, expect, it } from "vitest";
import { ALL_CAPABILITIES, DEFAULT_CAPABILITIES } from "../../src/runtime-spec/capabilities.ts";
import type { Seccomp } from "../../src/runtime-spec/config.ts";
import { DEFAULT_PROFILE } from "../../src/runtime-spec/seccomp/default-profile.ts";
import { parseProfile } from "../../src/runtime-spec/seccomp/profile.ts";
import type { SeccompTarget } from "../../src/runtime-spec/seccomp/resolve.ts";
import { resolveProfile } from "../../src/runtime-spec/seccomp/resolve.ts";

const target: SeccompTarget = {
  architecture: "amd64",
  capabilities: DEFAULT_CAPABILITIES,
  kernelRelease: "6.12.1",
};

const COMPARISONS: Readonly<Record<string, (have: bigint, value: bigint, second: bigint) => boolean>> = {
  SCMP_CMP_NE: (have, value) => have !== value,
  SCMP_CMP_LT: (have, value) => have < value,
  SCMP_CMP_LE: (have, value) => have <= value,
  SCMP_CMP_EQ: (have, value) => have === value,
  SCMP_CMP_GE: (have, value) => have >= value,
  SCMP_CMP_GT: (have, value) => have > value,
  SCMP_CMP_MASKED_EQ: (have, mask, second) => (have & mask) === second,
};

/** What the filter says to a call: `ALLOW`, `ERRNO 1`. More than one answer would be a profile that is ambiguous. */
function answers(filter: Seccomp, name: string, ...args: number[]): string[] {
  const said = filter.syscalls
    .filter((rule) => rule.names.includes(name))
    .filter((rule) =>
      (rule.args ?? []).every(({ index, value, valueTwo = 0, op }) =>
        COMPARISONS[op]?.(BigInt(args[index] ?? 0), BigInt(value), BigInt(valueTwo)),
      ),
    )
    .map(
      ({ action, errnoRet }) =>
        `${action.replace("SCMP_ACT_", "")}${errnoRet === undefined ? "" : ` ${errnoRet}`}`,
    );
  return said.length === 0 ? [`ERRNO ${filter.defaultErrnoRet}`] : [...new Set(said)];
}

const withCapabilities = (...more: string[]) =>
  resolveProfile(DEFAULT_PROFILE, { ...target, capabilities: [...DEFAULT_CAPABILITIES, ...more] });

describe("the default profile", () => {
  const plain = resolveProfile(DEFAULT_PROFILE, target);

  it.each<[string, string[], Seccomp, number[], string]>([
    ["reads", ["read"], plain, [], "ALLOW"],
    ["debugs its children", ["ptrace", "process_vm_readv"], plain, [], "ALLOW"],
    ["changes roots, as the default capabilities let it", ["chroot"], plain, [], "ALLOW"],
    ["mounts nothing", ["mount", "umount2", "unshare", "setns", "pivot_root"], plain, [], "ERRNO 1"],
    ["loads no modules and no kernels", ["init_module", "kexec_load"], plain, [], "ERRNO 1"],
    ["has no key rings", ["keyctl", "add_key", "request_key"], plain, [], "ERRNO 1"],
    ["has no io_uring", ["io_uring_setup", "io_uring_enter"], plain, [], "ERRNO 1"],
    ["sets no clocks", ["settimeofday", "clock_settime"], plain, [], "ERRNO 1"],
    ["does not know calls of the future", ["no_such_call", "open_tree_attr"], plain, [], "ERRNO 38"],
    ["does not know clone3, so that libraries use clone", ["clone3"], plain, [], "ERRNO 38"],
    ["makes processes (SIGCHLD)", ["clone"], plain, [17], "ALLOW"],
    ["makes threads", ["clone"], plain, [0x3d0f00], "ALLOW"],
    ["makes no user namespaces", ["clone"], plain, [0x1000_0011], "ERRNO 1"],
    ["makes no mount namespaces", ["clone"], plain, [0x0002_0011], "ERRNO 1"],
    ["makes no network and pid namespaces", ["clone"], plain, [0x6000_0011], "ERRNO 1"],
    ["talks IPv4", ["socket"], plain, [2], "ALLOW"],
    ["talks netlink", ["socket"], plain, [16], "ALLOW"],
    ["talks XDP", ["socket"], plain, [44], "ALLOW"],
    ["does not talk to the VMM", ["socket"], plain, [40], "ERRNO 1"],
    ["does not use the kernel's crypto", ["socket"], plain, [38], "ERRNO 1"],
    ["asks for its personality", ["personality"], plain, [0xffff_ffff], "ALLOW"],
    ["keeps its address space random", ["personality"], plain, [0x0004_0000], "ERRNO 38"],
    [
      "mounts with SYS_ADMIN",
      ["mount", "unshare", "bpf", "clone3"],
      withCapabilities("CAP_SYS_ADMIN"),
      [],
      "ALLOW",
    ],
    ["makes namespaces with SYS_ADMIN", ["clone"], withCapabilities("CAP_SYS_ADMIN"), [0x1000_0000], "ALLOW"],
    ["uses BPF with BPF alone", ["bpf"], withCapabilities("CAP_BPF"), [], "ALLOW"],
    ["measures with PERFMON alone", ["perf_event_open"], withCapabilities("CAP_PERFMON"), [], "ALLOW"],
    ["sets clocks with SYS_TIME", ["clock_settime"], withCapabilities("CAP_SYS_TIME"), [], "ALLOW"],
  ])("%s", (_name, calls, filter, args, answer) => {
    for (const call of calls) expect([call, answers(filter, call, ...args)]).toEqual([call, [answer]]);
  });

  it("gives one answer to every call without conditions, whatever the capabilities", () => {
    for (const capabilities of [[], DEFAULT_CAPABILITIES, ALL_CAPABILITIES, ["CAP_BPF"], ["CAP_SYS_ADMIN"]]) {
      const filter = resolveProfile(DEFAULT_PROFILE, { ...target, capabilities });
      const seen = new Map<string, string>();
      for (const { names, action, args } of filter.syscalls)
        for (const name of args === undefined ? names : []) {
          expect([name, seen.get(name) ?? action]).toEqual([name, action]);
          seen.set(name, action);
        }
    }
  });

  it.each([
    ["amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "ALLOW", "ERRNO 38"],
    ["arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], "ERRNO 38", "ALLOW"],
  ] as const)("knows %s", (architecture, architectures, archPrctl, cacheflush) => {
    const filter = resolveProfile(DEFAULT_PROFILE, { ...target, architecture });
    expect(filter.architectures).toEqual(architectures);
    expect(answers(filter, "arch_prctl")).toEqual([archPrctl]);
    expect(answers(filter, "cacheflush")).toEqual([cacheflush]);
  });

  it("is a profile in Docker's format itself", () => {
    expect(parseProfile(JSON.stringify(DEFAULT_PROFILE))).toEqual(DEFAULT_PROFILE);
  });
});

const ALLOW = { action: "SCMP_ACT_ALLOW" };

describe("a profile's conditions", () => {
  const names = (rules: object[], change: Partial<SeccompTarget> = {}) => {
    const text = JSON.stringify({ defaultAction: "SCMP_ACT_ERRNO", syscalls: rules });
    return resolveProfile(parseProfile(text), { ...target, ...change }).syscalls.flatMap(
      (rule) => rule.names,
    );
  };

  it.each<[string, object, Partial<SeccompTarget>, boolean]>([
    ["none", {}, {}, true],
    ["null and empty ones", { includes: null, excludes: {}, args: null, comment: "" }, {}, true],
    ["a capability that is held", { includes: { caps: ["CAP_CHOWN"] } }, {}, true],
    ["two, one of which is not held", { includes: { caps: ["CAP_CHOWN", "CAP_BPF"] } }, {}, false],
    ["an excluding capability", { excludes: { caps: ["CAP_BPF", "CAP_CHOWN"] } }, {}, false],
    ["an excluding capability that is not held", { excludes: { caps: ["CAP_BPF"] } }, {}, true],
    ["the architecture", { includes: { arches: ["arm64", "amd64"] } }, {}, true],
    ["another architecture", { includes: { arches: ["arm64"] } }, {}, false],
    ["an excluded architecture", { excludes: { arches: ["amd64"] } }, {}, false],
    ["an older kernel", { includes: { minKernel: "4.8" } }, {}, true],
    ["the same kernel", { includes: { minKernel: "6.12" } }, { kernelRelease: "6.12.3-cloud" }, true],
    ["a newer kernel", { includes: { minKernel: "6.13" } }, {}, false],
    ["a much newer kernel", { includes: { minKernel: "10.0" } }, {}, false],
    ["an excluded kernel", { excludes: { minKernel: "5.0" } }, {}, false],
    ["a kernel of no known release", { includes: { minKernel: "99.0" } }, { kernelRelease: "next" }, true],
  ])("%s", (_name, conditions, change, applies) => {
    expect(names([{ names: ["read"], ...ALLOW, ...conditions }], change)).toEqual(applies ? ["read"] : []);
  });

  it("leave out rules that say what happens anyway", () => {
    const same = { names: ["read"], action: "SCMP_ACT_ERRNO" };
    expect(names([same, { ...same, errnoRet: 1 }, { ...same, names: ["write"], errnoRet: 2 }])).toEqual([
      "write",
    ]);
  });

  it("take the old form: one name, and architectures without a map", () => {
    const text = JSON.stringify({
      defaultAction: "SCMP_ACT_KILL",
      architectures: ["SCMP_ARCH_X86_64"],
      flags: ["SECCOMP_FILTER_FLAG_LOG"],
      syscalls: [{ name: "read", ...ALLOW, args: [{ index: 0, value: 1, op: "SCMP_CMP_EQ" }] }],
    });
    expect(resolveProfile(parseProfile(text), target)).toEqual({
      defaultAction: "SCMP_ACT_KILL",
      architectures: ["SCMP_ARCH_X86_64"],
      flags: ["SECCOMP_FILTER_FLAG_LOG"],
      syscalls: [
        { names: ["read"], ...ALLOW, args: [{ index: 0, value: 1, valueTwo: 0, op: "SCMP_CMP_EQ" }] },
      ],
    });
  });
});

describe("a profile is refused", () => {
  const rule = (change: object) =>
    JSON.stringify({ defaultAction: "SCMP_ACT_ERRNO", syscalls: [{ names: ["read"], ...ALLOW, ...change }] });

  it.each([
    ["that is no JSON", "{", "is not JSON"],
    ["that is no object", "[]", "defaultAction"],
    ["that is nothing", "", "is not JSON"],
    ["without a default action", "{}", "defaultAction"],
    ["with an action that is none", '{"defaultAction":"ALLOW"}', "no action"],
    ["that asks for a supervisor", '{"defaultAction":"SCMP_ACT_NOTIFY"}', "no action"],
    ["with a listener", '{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x"}', "listenerPath"],
    ["with a member that nobody knows", '{"defaultAction":"SCMP_ACT_ALLOW","sycalls":[]}', "sycalls"],
    ["with a member twice", '{"defaultAction":"SCMP_ACT_ALLOW","defaultAction":"SCMP_ACT_KILL"}', "twice"],
    ["with a condition that nobody knows", rule({ includes: { cap: ["CAP_BPF"] } }), "cap"],
    ["with a name and names", rule({ name: "write" }), "both name and names"],
    ["with a rule for nothing", rule({ names: [] }), "names no system call"],
    ["with a name that is none", rule({ names: ["re ad"] }), "not a system call"],
    ["with an errno out of range", rule({ errnoRet: 4096 }), "errnoRet"],
    ["with a negative errno", rule({ errnoRet: -1 }), "errnoRet"],
    ["with a seventh argument", rule({ args: [{ index: 6, value: 0, op: "SCMP_CMP_EQ" }] }), "index"],
    ["with a comparison that is none", rule({ args: [{ index: 0, value: 0, op: "==" }] }), "no comparison"],
    [
      "with a value that is not exact",
      rule({ args: [{ index: 0, value: 2 ** 60, op: "SCMP_CMP_EQ" }] }),
      "2^53",
    ],
    ["with a negative value", rule({ args: [{ index: 0, value: -1, op: "SCMP_CMP_EQ" }] }), "value"],
    ["with a value in words", rule({ args: [{ index: 0, value: "1", op: "SCMP_CMP_EQ" }] }), "value"],
    ["with a kernel that is none", rule({ includes: { minKernel: "new" } }), "not a kernel version"],
    ["with a flag that is none", '{"defaultAction":"SCMP_ACT_ALLOW","flags":["FAST"]}', "no flag"],
    [
      "with both forms of architectures",
      '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}',
      "both architectures and archMap",
    ],
    [
      "with an architecture that is none",
      '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["x86"]}',
      "not an architecture",
    ],
    ["that is nested without end", `${'{"a":'.repeat(100)}1${"}".repeat(100)}`, "deep"],
    [
      "that is too large",
      `{"defaultAction":"SCMP_ACT_ALLOW","comment":"${"x".repeat(1 << 20)}"}`,
      "too large",
    ],
    [
      "with rules without end",
      JSON.stringify({
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: Array.from({ length: 4097 }, () => ({ name: "read", ...ALLOW })),
      }),
      "syscalls",
    ],
  ])("%s", (_name, text, message) => {
    const parse = () => parseProfile(text);
    expect(parse).toThrow(expect.objectContaining({ code: "invalid-seccomp-profile" }));
    expect(parse).toThrow(message);
  });
});
