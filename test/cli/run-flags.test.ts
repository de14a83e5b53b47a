/** Docker's flags of `run`, from words to config.json; and every way to get one wrong. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pullOptionsFrom } from "../../src/cli/args/access.ts";
import { parseDuration } from "../../src/cli/args/duration.ts";
import { parseLabelFile } from "../../src/cli/args/labels.ts";
import { parseMount, parseVolume, volumeNotices } from "../../src/cli/args/mounts.ts";
import { declareRunOptions } from "../../src/cli/args/run-declarations.ts";
import { containerOptions, loadRunFiles, type RunFlags } from "../../src/cli/args/run-options.ts";
import { addSwitchValues } from "../../src/cli/args/switches.ts";
import type { CreateOptions } from "../../src/cli/library.ts";
import { planContainer } from "../../src/container/plan.ts";
import { sizeMachine } from "../../src/container/sizing.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "flamebox-flags-"));
});
afterAll(async () => rm(directory, { recursive: true, force: true }));

async function optionsOf(...words: string[]): Promise<CreateOptions> {
  const command = new Command("run").exitOverride().configureOutput({ outputError: () => {} });
  command.showSuggestionAfterError();
  declareRunOptions(command);
  addSwitchValues(command);
  command.parse(words, { from: "user" });
  const flags = command.opts<RunFlags>();
  return containerOptions(flags, [], await loadRunFiles(flags, {}), {});
}

async function configOf(...words: string[]) {
  const options = await optionsOf(...words);
  const size = sizeMachine(options, { cpus: 8, memoryMib: 32_768 });
  return planContainer("ab".repeat(32), { Cmd: ["sh"] }, size, options).configFor("6.12.1");
}

/** Message and hint of what is thrown. */
async function complaint(job: () => unknown): Promise<string> {
  try {
    await job();
  } catch (error) {
    const { message, hint } = error as { message: string; hint?: string };
    return hint === undefined ? message : `${message} | ${hint}`;
  }
  return "it was accepted";
}

describe("in config.json", () => {
  it.each<[string[], object]>([
    [["--read-only"], { root: { readonly: true } }],
    [["--domainname", "example.org"], { domainname: "example.org" }],
    [["--annotation", "a=b=c"], { annotations: { a: "b=c" } }],
    [["--security-opt", "no-new-privileges"], { process: { noNewPrivileges: true } }],
    [["--security-opt", "no-new-privileges:false"], { process: { noNewPrivileges: false } }],
    [["--security-opt=systempaths=unconfined"], { linux: { maskedPaths: [], readonlyPaths: [] } }],
    [["--oom-score-adj", "-500"], { process: { oomScoreAdj: -500 } }],
    [
      ["--ulimit", "nofile=1024:2048"],
      { process: { rlimits: [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 2048 }] } },
    ],
    [["--ulimit", "nofile=7"], { process: { rlimits: [{ type: "RLIMIT_NOFILE", soft: 7, hard: 7 }] } }],
    [["--sysctl", "net.core.somaxconn=1024"], { linux: { sysctl: { "net.core.somaxconn": "1024" } } }],
    [["-m", "64m"], { linux: { resources: { memory: { limit: 64 << 20, swap: 64 << 20 } } } }],
    [["-m", "64m", "--memory-swap", "128m"], { linux: { resources: { memory: { swap: 128 << 20 } } } }],
    [["-m", "64m", "--memory-swap", "-1"], { linux: { resources: { memory: { swap: -1 } } } }],
    [["--memory-reservation", "32m"], { linux: { resources: { memory: { reservation: 32 << 20 } } } }],
    [["--cpus", "1.5"], { linux: { resources: { cpu: { quota: 150_000, period: 100_000 } } } }],
    [
      ["--cpu-quota", "50000", "--cpu-period", "25000"],
      { linux: { resources: { cpu: { quota: 50_000, period: 25_000 } } } },
    ],
    [["-c", "512"], { linux: { resources: { cpu: { shares: 512 } } } }],
    [["--pids-limit", "100"], { linux: { resources: { pids: { limit: 100 } } } }],
    [["--blkio-weight", "300"], { linux: { resources: { blockIO: { weight: 300 } } } }],
    [["--device", "/dev/fuse"], { linux: { devices: [{ path: "/dev/fuse", major: 10, minor: 229 }] } }],
    [["--device", "/dev/fuse:/dev/f:rw"], { linux: { devices: [{ path: "/dev/f" }] } }],
  ])("%j", async (words, expected) => {
    expect(await configOf(...words)).toMatchObject(expected);
  });

  it("--cap-add, --cap-drop and --privileged", async () => {
    const caps = async (...words: string[]) => (await configOf(...words)).process.capabilities.bounding;
    expect(await caps("--cap-drop", "all", "--cap-add", "net_admin")).toEqual(["CAP_NET_ADMIN"]);
    expect(await caps("--privileged")).toHaveLength(41);
  });

  it("--device-cgroup-rule and a device's access", async () => {
    const config = await configOf("--device", "/dev/fuse:r", "--device-cgroup-rule", "b *:3 rw");
    expect(config.linux.resources.devices.slice(-2)).toEqual([
      { allow: true, type: "c", major: 10, minor: 229, access: "r" },
      { allow: true, type: "b", minor: 3, access: "rw" },
    ]);
  });

  it("--tmpfs, --mount type=tmpfs and --shm-size", async () => {
    const words = [
      "--tmpfs",
      "/run:size=64m,mode=755",
      "--mount",
      "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700,ro",
    ];
    const { mounts } = await configOf(...words, "--tmpfs", "/bare", "--shm-size", "1m");
    const options = (path: string) =>
      mounts.find(({ destination }) => destination === path)?.options.join(",");
    expect(options("/run")).toBe("noexec,nosuid,nodev,size=64m,mode=755");
    expect(options("/t")).toBe("noexec,nosuid,nodev,size=1048576,mode=700,ro");
    expect(options("/bare")).toBe("noexec,nosuid,nodev");
    expect(options("/dev/shm")).toContain("size=1048576");
  });

  it("--security-opt seccomp", async () => {
    const path = join(directory, "profile.json");
    await writeFile(
      path,
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"chmod","action":"SCMP_ACT_ERRNO"}]}',
    );
    expect((await configOf("--security-opt", `seccomp=${path}`)).linux.seccomp).toEqual({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["chmod"], action: "SCMP_ACT_ERRNO" }],
    });
    expect((await configOf("--security-opt", "seccomp=unconfined")).linux.seccomp).toBeUndefined();
    expect((await configOf("--security-opt", "seccomp=builtin")).linux.seccomp?.defaultErrnoRet).toBe(38);
  });
});

describe("in the library's options", () => {
  it.each<[string[], CreateOptions]>([
    [["--init", "--name", "web"], { init: true, name: "web" }],
    [
      ["--stop-signal", "SIGRTMIN+3", "--stop-timeout", "5"],
      { stopSignal: "SIGRTMIN+3", stopTimeoutMs: 5_000 },
    ],
    [["--stop-timeout", "-1"], { stopTimeoutMs: -1 }],
    [["-l", "a=1", "--label", "b", "-l", "a=2"], { labels: { a: "2", b: "" } }],
    [["-P", "--expose", "80", "--expose", "5-6/udp"], { publishAll: true, expose: ["80", "5-6/udp"] }],
    [["--mac-address", "02:00:00:00:00:01"], { macAddress: "02:00:00:00:00:01" }],
    [["--dns-search", "a", "--dns-option", "ndots:1"], { dnsSearch: ["a"], dnsOptions: ["ndots:1"] }],
    [["--dns-opt", "rotate", "--net", "none"], { dnsOptions: ["rotate"], network: "none" }],
    [["--network", "bridge"], { network: "user" }],
    [["--net=default"], { network: "user" }],
    [["--network", "cni:podman"], { network: "cni:podman" }],
    [
      ["--init=true", "--read-only=false", "--sig-proxy=true", "--rm=true"],
      { autoRemove: true, init: true, readOnly: false },
    ],
    [["--publish-all=true", "--privileged=false"], { publishAll: true, privileged: false }],
    [["--cpuset-cpus", "0-1"], { cpusetCpus: "0-1" }],
    [
      [
        "--ipc",
        "private",
        "--pid=private",
        "--uts",
        "private",
        "--userns",
        "private",
        "--cgroupns",
        "private",
      ],
      {},
    ],
    [["--ipc", "shareable"], {}],
    [["--security-opt", "apparmor=unconfined", "--security-opt", "label=disable"], {}],
    [["--no-healthcheck"], { healthcheck: false }],
    [["--health-retries", "5"], { healthcheck: { retries: 5 } }],
    [
      ["--health-cmd", "curl x", "--health-interval", "1m30s", "--health-timeout", "500ms"],
      { healthcheck: { test: ["CMD-SHELL", "curl x"], intervalMs: 90_000, timeoutMs: 500 } },
    ],
    [
      ["--health-start-period", "1m", "--health-start-interval", "2s"],
      { healthcheck: { startPeriodMs: 60_000, startIntervalMs: 2_000 } },
    ],
    [
      ["-v", "/data", "--mount", "dst=/m,ro"],
      { volumes: [{ target: "/data" }, { target: "/m", readOnly: true, copy: true }] },
    ],
    [
      ["-v", "/h:/c:ro,z", "--mount", 'type=bind,"src=/a,b",target=/d,readonly=false'],
      {
        binds: [
          { source: "/h", target: "/c", readonly: true, createSource: true },
          { source: "/a,b", target: "/d", readonly: false },
        ],
      },
    ],
  ])("%j", async (words, options) => {
    expect(await optionsOf(...words)).toEqual({ ...pullOptionsFrom({}, {}), ...options });
  });

  it("--label-file, which --label wins over", async () => {
    const path = join(directory, "labels");
    await writeFile(path, "# comment\na=1\n\n  b=2 \nc\n");
    expect((await optionsOf("--label-file", path, "-l", "a=3")).labels).toEqual({ a: "3", b: "2 ", c: "" });
    expect(await complaint(() => parseLabelFile("a b=1", "f"))).toContain("label file 'f', line 1:");
    expect(await complaint(async () => optionsOf("--label-file", join(directory, "no")))).toContain("ENOENT");
  });

  it("a folder that is named from here", () => {
    expect(parseVolume("./x:/c")).toEqual({
      kind: "bind",
      mount: { source: join(process.cwd(), "x"), target: "/c", readonly: false, createSource: true },
    });
    expect(parseMount("type=bind,source=../x,target=/c")).toMatchObject({
      mount: { source: join(process.cwd(), "..", "x"), readonly: false },
    });
  });
});

describe("refused, with what to do", () => {
  it.each<[string[], string]>([
    [["--volume", "data:/data"], "no named volumes yet ('data') | name a folder of this host"],
    [["-v", "a/b:/data"], "is neither a path"],
    [["-v", "/a:/b:/c"], "is none of ro, rw, nocopy, z, Z"],
    [["-v", "/a:/b:ro:rw"], "too many colons"],
    [["-v", "/a:/b:ro,rw"], "exclude each other"],
    [["-v", "/a:/b:rshared"], "mounts do not pass between this host and a machine"],
    [["-v", "/a:/b:nocopy"], "nocopy is for volumes"],
    [["-v", "/a:b/c"], "'b/c' is not an absolute path in the container"],
    [["-v", "/a:ro"], "a mode needs a source and a path before it"],
    [["-v", "data"], "'data' is not an absolute path"],
    [["-v", ":/a"], "nothing before the colon"],
    [["-v", ""], "nothing before the colon"],
    [["--mount", ""], "is not for the type volume"],
    [["--mount", "type=nfs,target=/a"], "the type 'nfs' is none of bind, volume, tmpfs"],
    [["--mount", "type=constructor,target=/a"], "is none of bind, volume, tmpfs"],
    [["--mount", "type=bind,target=/a"], "there is no source"],
    [["--mount", "type=bind,source=x,target=/a"], "there is no source"],
    [["--mount", "type=bind,source=/x"], "there is no target"],
    [["--mount", "type=bind,source=/x,target=a"], "'a' is not an absolute path"],
    [["--mount", "type=bind,source=/x,target=/a,target=/b"], "'target' is there twice"],
    [["--mount", "type=bind,source=/x,target=/a,readonly=maybe"], "neither true nor false"],
    [["--mount", "type=bind,source=/x,target=/a,volume-nocopy"], "is not for the type bind"],
    [["--mount", "type=bind,source=/x,target=/a,bind-propagation=rshared"], "mounts do not pass"],
    [["--mount", "type=bind,source,target=/a"], "'source' has no value"],
    [["--mount", 'type=bind,"source=/x,target=/a'], "a quote is out of place"],
    [["--mount", "source=data,target=/a"], "no named volumes yet"],
    [["--mount", "type=tmpfs,target=/a,source=/b"], "'source' is not for the type tmpfs"],
    [["--mount", "type=tmpfs,target=/a,tmpfs-mode=9"], "not an octal mode"],
    [["--mount", "type=tmpfs,target=/a,tmpfs-size=x"], "tmpfs-size 'x' is not a size"],
    [["--tmpfs", "run"], "'run' is not an absolute path"],
    [["--security-opt", "no-new-privilege"], "there is no such option | options are no-new-privileges"],
    [["--security-opt", "no-new-privileges=1"], "neither true nor false"],
    [["--security-opt", "seccomp="], "it has no profile"],
    [["--security-opt", "seccomp=/no/such/file"], "seccomp profile '/no/such/file' cannot be read: ENOENT"],
    [["--security-opt", "apparmor=docker-default"], "no AppArmor profile is loaded in a machine"],
    [["--security-opt", "label=type:x"], "there is no SELinux in a machine"],
    [["--security-opt", "systempaths=x"], "can only be unconfined"],
    [["--device", "fuse"], "is not a device"],
    [["--device", "/dev/fuse:/dev/f:rx"], "is not a device"],
    [["--device-cgroup-rule", "c 1:3"], "is not a rule"],
    [["--ulimit", "nofile"], "is not a limit | write NAME=SOFT[:HARD]"],
    [["--ulimit", "nofile=a:b"], "is not a limit"],
    [["--ulimit", "nofile=1:2:3"], "is not a limit"],
    [["--sysctl", "net.core.somaxconn"], "has no value"],
    [["--memory-swap", "-2"], "--memory-swap '-2' is not a size"],
    [["--pids-limit", "many"], "--pids-limit 'many' is not a whole number"],
    [["--cpu-shares", "-5"], "--cpu-shares '-5' is not a whole number of at least 0"],
    [["--stop-timeout", "10s"], "--stop-timeout '10s' is not a whole number"],
    [
      ["--health-interval", "30"],
      "--health-interval '30' is not a duration | write a number and ms, s, m or h",
    ],
    [["--health-retries", "x"], "--health-retries 'x' is not a whole number"],
    [["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck conflicts with the --health-… options"],
    [["--label", "=x"], "has no key"],
    [["--annotation", "x"], "has no value"],
    [["--ipc", "host"], "--ipc host: a container runs in a machine of its own"],
    [["--pid", "host"], "out of which no namespace of this host can be entered"],
    [["--pid", "container:x"], "share no namespaces"],
    [["--uts", "host"], "leave out --uts"],
    [["--userns", "host"], "leave out --userns"],
    [["--cgroupns", "host"], "leave out --cgroupns"],
    [["--ipc", "none"], "'none' is not supported"],
    [["--network", "none", "-P"], "--publish needs a network"],
    [["--volumes-from", "x"], "--volumes-from is not supported: containers run in machines of their own"],
    [["--ip6", "::1"], "--ip6 is not supported"],
    [["-a", "stdout"], "--attach is not supported: both outputs are always attached"],
    [["--sig-proxy=false"], "--sig-proxy=false is not supported"],
    [["--init=maybe"], "unknown option '--init=maybe'"],
    [["--cpu-percent", "5"], "--cpu-percent is not supported: it is for containers of Windows"],
    [["--oom-kill-disable"], "--oom-kill-disable is not supported: cgroup v2"],
    [["--device-read-bps", "/dev/sda:1m"], "it names a disk of this host"],
    [["--memory-swappiness", "1"], "cgroup v2"],
    [["--gpus", "all"], "no device of this host"],
    [["--restart", "sometimes"], "is not a restart policy"],
    [["--restart", "always:3"], "is not a restart policy"],
    [["--restart", "on-failure:x"], "is not a whole number"],
    [["--log-driver", "syslog"], "'syslog' is not supported"],
    [["--log-opt", "max-size=0"], "is not a size"],
    [["--log-opt", "tag=x"], "is not supported"],
    [["--cap-ad", "ALL"], "unknown option '--cap-ad'\n(Did you mean --cap-add?)"],
    [["--helth-cmd", "x"], "(Did you mean --health-cmd?)"],
  ])("%j", async (words, expected) => {
    expect(await complaint(async () => configOf(...words))).toContain(expected);
  });
});

describe("durations", () => {
  it.each([
    ["30s", 30_000],
    ["1m30s", 90_000],
    ["1.5h", 5_400_000],
    ["500ms", 500],
    ["1000us", 1],
    [".5s", 500],
    ["0", 0],
    ["0s", 0],
  ])("%s", (text, durationMs) => {
    expect(parseDuration(text, "--x")).toBe(durationMs);
  });

  it.each(["", "30", "s", "1x", "-1s", "1s ", "1s1", "1 s", "1e3s", "1ns", "1us", `${"9".repeat(20)}h`])(
    "refuses '%s'",
    async (text) => {
      expect(await complaint(() => parseDuration(text, "--x"))).toContain(`--x '${text}' is`);
    },
  );
});

it("says that z and Z do nothing", () => {
  expect(volumeNotices(["/a:/b:ro,z", "/a:/b", "/c"])).toEqual([
    "--volume '/a:/b:ro,z': z and Z do nothing: a machine needs no SELinux label",
  ]);
});
