/** What a container's options and its image come to, before anything is started. */
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkConnection, publishedPorts, resolvConfOf } from "../../src/container/connection.ts";
import type { ContainerOptions } from "../../src/container/options.ts";
import { planContainer, planMachine } from "../../src/container/plan.ts";
import { sizeMachine } from "../../src/container/sizing.ts";
import { stopPlanOf, stopSignalOf, stopTimeoutOf } from "../../src/container/stop.ts";
import { planMounts, prepareBinds } from "../../src/container/volumes.ts";
import type { ExecutionConfig } from "../../src/oci/config.ts";

const size = sizeMachine({}, { cpus: 2, memoryMib: 8_192 });
const plan = (image: ExecutionConfig, options: ContainerOptions) =>
  planContainer("ab".repeat(32), { Cmd: ["sh"], ...image }, size, options);

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "flamebox-plan-"));
});
afterAll(async () => rm(directory, { recursive: true, force: true }));

describe("mounts", () => {
  const volume = (path: string, readonly = false, seed = true) => ({ path, readonly, seed });

  it.each<[string, string[], ContainerOptions, object]>([
    [
      "the image's volumes",
      ["/data", "/var//lib/x/", "relative"],
      {},
      [volume("/data"), volume("/var/lib/x"), volume("/relative")],
    ],
    ["one that is there twice", ["/data", "/data/"], {}, [volume("/data")]],
    ["none over everything", ["/", "", ".", "//"], {}, []],
    [
      "the option's",
      [],
      { volumes: [{ target: "/a", readOnly: true, copy: false }] },
      [volume("/a", true, false)],
    ],
    [
      "the option's in place of the image's",
      ["/a"],
      { volumes: [{ target: "/a/", readOnly: true }] },
      [volume("/a", true)],
    ],
    ["a tmpfs in place of the image's", ["/a"], { tmpfs: [{ target: "/a" }] }, []],
    [
      "a folder in place of the image's",
      ["/a"],
      { binds: [{ source: "/h", target: "/a", readonly: true }] },
      [],
    ],
  ])("have %s", (_name, paths, options, volumes) => {
    const image = { Volumes: Object.fromEntries(paths.map((path) => [path, {}])) };
    const mounts = planMounts(options, image);
    expect(mounts.volumes).toEqual(volumes);
    for (const { path } of mounts.volumes) expect(mounts.targets).toContain(path);
  });

  it("keep what config.json has from what is mounted there", () => {
    const made = plan({ Volumes: { "/dev/shm": {} } }, {});
    expect(made.configFor("6.12").mounts.map(({ destination }) => destination)).not.toContain("/dev/shm");
  });

  it.each<[string, ContainerOptions]>([
    ["two things in one place", { tmpfs: [{ target: "/a" }], volumes: [{ target: "/b/../a" }] }],
    ["a volume for a root", { volumes: [{ target: "/" }] }],
    ["a relative volume", { volumes: [{ target: "a" }] }],
    ["a relative host folder", { binds: [{ source: "a", target: "/a", readonly: false }] }],
    ["a host folder with NUL", { binds: [{ source: "/a\0", target: "/a", readonly: false }] }],
    ["65 volumes", { volumes: Array.from({ length: 65 }, (_, index) => ({ target: `/v${index}` })) }],
  ])("are refused with %s", (_name, options) => {
    expect(() => planMounts(options, undefined)).toThrow(expect.objectContaining({ code: "invalid-option" }));
  });

  it("make a missing host folder only where that is asked for", async () => {
    const [made, missing, file] = ["made/deep", "missing", "file"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    await writeFile(file, "x");
    await prepareBinds([
      { source: made, target: "/a", readonly: false, createSource: true },
      { source: file, target: "/b", readonly: false, createSource: true },
      { source: file, target: "/c", readonly: false },
    ]);
    expect((await stat(made)).isDirectory()).toBe(true);
    expect((await stat(file)).isFile()).toBe(true);
    const refused = prepareBinds([{ source: missing, target: "/a", readonly: false }]);
    await expect(refused).rejects.toMatchObject({ code: "bind-source-missing" });
    await expect(stat(missing)).rejects.toMatchObject({ code: "ENOENT" });
    const blocked = prepareBinds([
      { source: join(file, "below"), target: "/a", readonly: false, createSource: true },
    ]);
    await expect(blocked).rejects.toMatchObject({ code: "bind-source-missing" });
  });
});

describe("ports", () => {
  const image = {
    ExposedPorts: { "80": {}, "53/udp": {}, "9/sctp": {}, "8000-8001/tcp": {}, nonsense: {}, "0": {} },
  };
  const shown = (options: ContainerOptions) =>
    publishedPorts(options, image).map(
      ({ hostAddress, hostPort, containerPort, protocol }) =>
        `${hostAddress}:${hostPort}:${containerPort}/${protocol}`,
    );

  it("are not published because they are exposed", () => {
    expect(shown({ expose: ["1"] })).toEqual([]);
  });

  it("are all published when that is asked for, those once that were given", () => {
    const publish = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" as const }];
    expect(shown({ publishAll: true, publish, expose: ["70/udp", "8001"] })).toEqual([
      "127.0.0.1:8080:80/tcp",
      "127.0.0.1:0:70/udp",
      "127.0.0.1:0:8001/tcp",
      "127.0.0.1:0:53/udp",
      "127.0.0.1:0:8000/tcp",
    ]);
  });

  it.each<[string, ContainerOptions]>([
    ["a port that is none", { expose: ["http"] }],
    ["a port out of range", { expose: ["65536"] }],
    ["a range the wrong way", { expose: ["2-1"] }],
    ["more than a thousand", { publishAll: true, expose: ["1-1001"] }],
    ["a MAC address that is none", { macAddress: "02:00:00" }],
    ["a group's MAC address", { macAddress: "01:00:5e:00:00:01" }],
    ["no MAC address", { macAddress: "00:00:00:00:00:00" }],
    ["a MAC address without a network", { macAddress: "02:00:00:00:00:01", network: "none" }],
    ["ports without a network", { publishAll: true, network: "none" }],
    ["a network that has no such name", { network: "../shop" }],
    ["a network of Docker's", { network: "host" }],
    ["aliases without a network of a name", { networkAliases: ["db"] }],
    ["an address without a network of a name", { ipAddress: "10.87.0.7" }],
    ["a CNI network with no such name", { network: "cni:../shop" }],
    ["a CNI network without a name", { network: "cni:" }],
    ["aliases in a CNI network", { network: "cni:shop", networkAliases: ["db"] }],
    ["an address that is none in a CNI network", { network: "cni:shop", ipAddress: "10.1" }],
    ["an alias that is none", { network: "shop", networkAliases: ["a b"] }],
    ["aliases without end", { network: "shop", networkAliases: Array.from({ length: 99 }, () => "a") }],
    ["a gateway without a network", { network: "none", addHosts: [{ host: "h", address: "host-gateway" }] }],
  ])("are refused with %s", (_name, options) => {
    expect(() => checkConnection(options)).toThrow(expect.objectContaining({ code: "invalid-option" }));
  });
});

describe("resolv.conf", () => {
  const host = { servers: ["192.0.2.1"], search: ["host.example"], options: ["edns0"] };
  it.each<[string, ContainerOptions, typeof host | undefined, string]>([
    ["nothing without a network", {}, undefined, ""],
    [
      "servers that are given, without a network",
      { dns: ["192.0.2.9"] },
      undefined,
      "nameserver 192.0.2.9\n",
    ],
    ["what the network can use", {}, host, "nameserver 192.0.2.1\nsearch host.example\noptions edns0\n"],
    [
      "all that is given",
      { dnsSearch: ["a.example", "b"], dnsOptions: ["ndots:2", "rotate"] },
      host,
      "nameserver 192.0.2.1\nsearch a.example b\noptions ndots:2 rotate\n",
    ],
    ["no search", { dnsSearch: ["."] }, host, "nameserver 192.0.2.1\noptions edns0\n"],
  ])("has %s", (_name, options, network, text) => {
    expect(resolvConfOf(options, network)).toBe(text);
  });

  it.each<ContainerOptions>([
    { dnsSearch: ["a\nnameserver 6.6.6.6"] },
    { dnsSearch: [""] },
    { dnsOptions: ["a b"] },
  ])("refuses %j", (options) => {
    expect(() => resolvConfOf(options, host)).toThrow(expect.objectContaining({ code: "invalid-option" }));
  });
});

describe("how to stop", () => {
  it.each<[string, ExecutionConfig, ContainerOptions, object]>([
    ["Docker's way", {}, {}, { signal: 15, timeoutMs: 10_000 }],
    ["the image's signal", { StopSignal: "SIGQUIT" }, {}, { signal: 3 }],
    ["the image's signal as a number", { StopSignal: "37" }, {}, { signal: 37 }],
    ["the option's signal", { StopSignal: "SIGQUIT" }, { stopSignal: "RTMIN+3" }, { signal: 37 }],
    ["an image's signal that is none", { StopSignal: "please" }, {}, { signal: 15 }],
    ["at once", {}, { stopTimeoutMs: 0 }, { timeoutMs: 0 }],
    ["with all the time there is", {}, { stopTimeoutMs: -1 }, { timeoutMs: Number.POSITIVE_INFINITY }],
  ])("%s", (_name, image, options, expected) => {
    expect(stopPlanOf(image, options)).toMatchObject(expected);
  });

  it("is refused when it is none", () => {
    expect(() => stopSignalOf("SIGTERN")).toThrow(expect.objectContaining({ hint: "did you mean SIGTERM?" }));
    expect(() => stopSignalOf(0)).toThrow(expect.objectContaining({ code: "invalid-option" }));
    for (const timeoutMs of [-2, Number.NaN, 2 ** 31])
      expect(() => stopTimeoutOf(timeoutMs)).toThrow(expect.objectContaining({ code: "invalid-option" }));
  });
});

describe("a plan", () => {
  it("has the image's labels under the options'", () => {
    expect(plan({ Labels: { a: "1", b: "2" } }, { labels: { b: "3" } }).labels).toEqual({ a: "1", b: "3" });
  });

  it("has the image's user and check unless others are given", () => {
    const image = { User: "www", Healthcheck: { Test: ["CMD", "x"] } };
    expect(plan(image, {})).toMatchObject({ user: "www", healthcheck: { args: ["x"] } });
    expect(plan(image, { user: "0", healthcheck: false })).toMatchObject({
      user: "0",
      healthcheck: undefined,
    });
  });

  it("asks the profile about the kernel that is there", () => {
    const rule = { names: ["read"], action: "SCMP_ACT_ALLOW", includes: { minKernel: "6.12" } };
    const seccomp = { profile: JSON.stringify({ defaultAction: "SCMP_ACT_ERRNO", syscalls: [rule] }) };
    const { configFor } = plan({}, { seccomp });
    expect(configFor("6.12.1").linux.seccomp?.syscalls).toHaveLength(1);
    expect(configFor("6.1.0").linux.seccomp?.syscalls).toHaveLength(0);
  });

  it.each<[string, ContainerOptions, string]>([
    ["a capability", { capAdd: ["NOPE"] }, "invalid-option"],
    ["a profile", { seccomp: { profile: "{" } }, "invalid-seccomp-profile"],
    ["CPUs", { cpus: 10_000 }, "invalid-option"],
    ["memory", { memoryMib: 1 << 30 }, "invalid-option"],
    ["a CPU of this host", { cpusetCpus: "8191" }, "invalid-option"],
    ["a mount", { tmpfs: [{ target: "x" }] }, "invalid-option"],
    ["a stop signal", { stopSignal: "SIGNOPE" }, "invalid-option"],
    ["a health check", { healthcheck: { intervalMs: -1 } }, "invalid-option"],
    ["a label", { labels: { "": "x" } }, "invalid-option"],
    ["a name", { name: "-x" }, "invalid-option"],
    ["a host name", { hostname: "a b" }, "invalid-option"],
    ["a port", { expose: ["x"] }, "invalid-option"],
    ["a search domain", { dnsSearch: ["a b"] }, "invalid-option"],
    [
      "a host folder",
      { binds: [{ source: "/no/such/folder", target: "/x", readonly: true }] },
      "bind-source-missing",
    ],
  ])("is refused for %s before there is an image", async (_name, options, code) => {
    await expect(planMachine(options)).rejects.toMatchObject({ code });
  });

  it("needs no command before there is an image", async () => {
    await expect(planMachine({ command: [], entrypoint: [] })).resolves.toMatchObject({
      hostCpus: undefined,
    });
  });
});
