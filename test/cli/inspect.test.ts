/** `inspect` of containers: the document from their records, their image's config and their state; and templates over it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { execute } from "../../src/cli/execute.ts";
import { containerDocument } from "../../src/cli/output/container-document.ts";
import { compileDocument } from "../../src/cli/output/template.ts";
import { configure } from "../../src/container/lifecycle/configured.ts";
import { detailsOf } from "../../src/container/lifecycle/info.ts";
import { replaceRecord } from "../../src/container/lifecycle/record.ts";
import { findContainer } from "../../src/container/lifecycle/roster.ts";
import type { LiveState } from "../../src/container/lifecycle/state.ts";
import { CREATED, writeState } from "../../src/container/lifecycle/state.ts";
import { blobPath, layoutOf } from "../../src/store/layout.ts";
import * as library from "../../src/index.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { writeLayout } from "../support/oci-layout.ts";
import type { WrittenImage } from "../support/oci-layout.ts";
import { archive, entry } from "../support/tar-builder.ts";
import { fakeContext } from "./fake-context.ts";

const config = {
  Entrypoint: ["/entry"],
  Cmd: ["serve"],
  Env: ["PATH=/bin", "MODE=image"],
  ExposedPorts: { "80/tcp": {}, "9000": {} },
  Healthcheck: { Test: ["CMD", "/check"], Interval: 5_000_000_000 },
  Labels: { tier: "web" },
  StopSignal: "SIGQUIT",
  User: "www",
  Volumes: { "/data": {} },
  WorkingDir: "/srv",
};

let dir: string;
let image: WrittenImage;
const home = () => join(dir, "home");
const paths = () => ({ dataDir: join(home(), "data"), runtimeDir: join(home(), "run") });

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-inspect-"));
  const platform = hostPlatform(process.arch) as { os: string; architecture: string };
  const layers = [archive(entry({ name: "entry" }, "#!"))];
  [image] = (await writeLayout(join(dir, "layout"), "1", [{ platform, layers, config }])) as [WrittenImage];
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

async function flamebox(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  const env = { FLAMEBOX_HOME: home(), HOME: join(dir, "user"), XDG_RUNTIME_DIR: join(dir, "runtime") };
  const context = { ...fakeContext({ env }), loadLibrary: async () => library };
  const code = await execute(words, context);
  return { code, out: context.stdout.text, err: context.stderr.text };
}

async function good(...words: string[]): Promise<string> {
  const { code, out, err } = await flamebox(...words);
  expect({ code, err: code === 0 ? "" : err }, words.join(" ")).toEqual({ code: 0, err: "" });
  return out;
}

const FLAGS = `
  --name web -p 8080:80 -p 127.0.0.1:0:53/udp --expose 81 -e MODE=own -e EMPTY= -v /tmp:/host:ro -v /scratch
  --tmpfs /run:size=1m,ro -m 64m --memory-reservation 32m --memory-swap -1 --cpu-shares 512 --cpu-quota 50000
  --cpu-period 100000 --pids-limit 99 --ulimit nofile=5:6 --cap-add NET_ADMIN --security-opt no-new-privileges
  --egress-allow example.com:443 --restart on-failure:3 --stop-timeout 7 --health-retries 2 -l a=b --dns 192.0.2.53
  --add-host db:192.0.2.1 --sysctl net.core.somaxconn=99 --hostname host --read-only`;

const LIVE: LiveState = {
  monitorPid: 11,
  vmmPid: 12,
  machine: "qemu (kvm)",
  kernelRelease: "6.12.1",
  memoryLimitBytes: 64 << 20,
  addresses: ["10.0.2.15/24", "fd66::2/64"],
  gateways: ["10.0.2.2", "fd66::1"],
  mac: "52:54:00:12:34:56",
  ports: [{ hostAddress: "127.0.0.1", hostPort: 8080, containerPort: 80, protocol: "tcp" }],
};

/** Of the container that has all options, as it stands in the next test. */
const HOST_CONFIG = {
  Binds: ["/tmp:/host:ro"],
  LogConfig: { Type: "local", Config: { "max-size": "10485760", "max-file": "5" } },
  NetworkMode: "user",
  PortBindings: {
    "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "8080" }],
    "53/udp": [{ HostIp: "127.0.0.1", HostPort: "" }],
  },
  PublishAllPorts: false,
  RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 },
  AutoRemove: false,
  Init: false,
  Dns: ["192.0.2.53"],
  DnsOptions: [],
  DnsSearch: [],
  ExtraHosts: ["db:192.0.2.1"],
  Privileged: false,
  ReadonlyRootfs: true,
  CapAdd: ["NET_ADMIN"],
  CapDrop: [],
  GroupAdd: [],
  SecurityOpt: ["no-new-privileges"],
  Sysctls: { "net.core.somaxconn": "99" },
  Devices: [],
  Memory: 64 << 20,
  MemoryReservation: 32 << 20,
  MemorySwap: -1,
  NanoCpus: 0,
  CpuShares: 512,
  CpuPeriod: 100_000,
  CpuQuota: 50_000,
  CpusetCpus: "",
  BlkioWeight: 0,
  OomScoreAdj: 0,
  Ulimits: [{ Name: "nofile", Soft: 5, Hard: 6 }],
  PidsLimit: 99,
  Tmpfs: { "/run": "size=1m,ro" },
};

const CONFIG = {
  Hostname: "host",
  Domainname: "",
  User: "www",
  ExposedPorts: { "80/tcp": {}, "9000/tcp": {}, "81/tcp": {}, "53/udp": {} },
  Tty: false,
  OpenStdin: false,
  Env: ["PATH=/bin", "HOSTNAME=host", "MODE=own", "EMPTY="],
  Cmd: ["go", "--fast"],
  Healthcheck: { Test: ["CMD", "/check"], Interval: 5_000_000_000, Retries: 2 },
  Volumes: { "/scratch": {}, "/data": {} },
  WorkingDir: "/srv",
  Entrypoint: ["/entry"],
  Labels: { tier: "web", a: "b" },
  StopSignal: "SIGQUIT",
  StopTimeout: 7,
};

const MOUNTS = [
  { Type: "bind", Source: "/tmp", Destination: "/host", Mode: "ro", RW: false },
  { Type: "volume", Destination: "/scratch", Mode: "", RW: true },
  { Type: "volume", Destination: "/data", Mode: "", RW: true },
  { Type: "tmpfs", Destination: "/run", Mode: "size=1m,ro", RW: false },
];

const ENDPOINT = {
  MacAddress: "52:54:00:12:34:56",
  Gateway: "10.0.2.2",
  IPAddress: "10.0.2.15",
  IPPrefixLen: 24,
  IPv6Gateway: "fd66::1",
  GlobalIPv6Address: "fd66::2",
  GlobalIPv6PrefixLen: 64,
};

const NETWORK_SETTINGS = {
  Ports: {
    "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "8080" }],
    "9000/tcp": null,
    "81/tcp": null,
    "53/udp": null,
  },
  ...ENDPOINT,
  Addresses: ["10.0.2.15/24", "fd66::2/64"],
  Networks: { user: { IPAMConfig: null, Aliases: [], ...ENDPOINT } },
};

describe("a container that has been created", () => {
  beforeAll(async () => {
    await good("create", "-q", ...FLAGS.trim().split(/\s+/), `oci:${join(dir, "layout")}:1`, "go", "--fast");
  });

  it("is told in full, and what only a running one has is empty", async () => {
    const [document] = JSON.parse(await good("inspect", "web")) as [Record<string, unknown>];
    const none = { MacAddress: "", Gateway: "", IPAddress: "", IPPrefixLen: 0 };
    const empty = { ...none, IPv6Gateway: "", GlobalIPv6Address: "", GlobalIPv6PrefixLen: 0 };
    expect(document).toEqual({
      Id: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      Name: "web",
      Created: expect.stringMatching(/^\d{4}-/) as string,
      Path: "/entry",
      Args: ["go", "--fast"],
      State: {
        Status: "created",
        Running: false,
        Paused: false,
        Restarting: false,
        OOMKilled: false,
        Dead: false,
        Pid: 0,
        MonitorPid: 0,
        ExitCode: 0,
        Error: "",
        StartedAt: "0001-01-01T00:00:00Z",
        FinishedAt: "0001-01-01T00:00:00Z",
        Warnings: [],
      },
      Image: image.config.digest,
      Platform: expect.stringMatching(/^linux\//) as string,
      RestartCount: 0,
      LogPath: expect.stringMatching(/\/container\.log$/) as string,
      Machine: { Description: "", Kernel: "", MemoryLimit: 0 },
      FlameBox: { Egress: { Policy: "deny", Allow: ["example.com:443"], Deny: [] } },
      HostConfig: HOST_CONFIG,
      Mounts: MOUNTS,
      Config: { ...CONFIG, Image: `oci:${join(dir, "layout")}:1` },
      NetworkSettings: {
        Ports: {},
        ...empty,
        Addresses: [],
        Networks: { user: { IPAMConfig: null, Aliases: [], ...empty } },
      },
    });
  });

  it("and when it runs, has its addresses and ports", async () => {
    const record = await findContainer(paths(), "web");
    const folder = join(paths().dataDir, "containers", record.id);
    await writeState(folder, { ...CREATED, status: "running", startedAt: record.createdAt, live: LIVE });
    // Read at once: the next command would find that nobody runs it.
    const document = containerDocument(await detailsOf(paths(), record));
    await writeState(folder, CREATED);
    expect(document).toMatchObject({ State: { Running: true, Pid: 12 }, NetworkSettings: NETWORK_SETTINGS });
    const show = (template: string) => compileDocument(template)(document);
    expect(show("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")).toBe("10.0.2.15\n");
    expect(show('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}')).toBe("8080\n");
    expect(
      show(
        "{{range $p, $c := .NetworkSettings.Ports}}{{if $c}}{{$p}}={{(index $c 0).HostPort}} {{end}}{{end}}",
      ),
    ).toBe("80/tcp=8080 \n");
    expect(show("{{range .Config.Env}}{{println .}}{{end}}")).toContain("\nMODE=own\n");
    expect(show("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}")).toBe("none\n");
    expect(show('{{range .Mounts}}{{if eq .Type "bind"}}{{.Source}}{{end}}{{end}}')).toBe("/tmp\n");
    expect(show('{{index .Config.Labels "tier"}}')).toBe("web\n");
    expect(show("{{json .Config}}")).not.toContain("undefined");
  });

  it("has its size where that is asked for", async () => {
    expect(await good("inspect", "-f", "{{.SizeRw}}", "web")).toBe("<no value>\n");
    expect(await good("inspect", "-s", "-f", "{{.SizeRw}}", "web")).toMatch(/^\d+\n$/);
  });

  it("is looked for where --type says", async () => {
    expect(await good("inspect", "--type", "container", "-f", "{{.Name}}", "web")).toBe("web\n");
    expect(await good("inspect", "--type=image", "-f", "{{.Config.User}}", image.config.digest)).toBe(
      "www\n",
    );
    expect((await flamebox("inspect", "--type", "image", "web")).err).toContain("no such image here: web");
    expect((await flamebox("inspect", "--type", "container", image.config.digest)).code).toBe(1);
    expect((await flamebox("inspect", "--type", "volume", "web")).err).toContain("container, image");
  });

  it("tells what goes wrong in a template, and where", async () => {
    const { err } = await flamebox("inspect", "-f", "{{(index .Mounts 9).Source}}", "web");
    expect(err).toContain("--format: index: there is no item 9 in a list of 4, at character 4");
    expect((await flamebox("inspect", "-f", "{{range .Mounts}}", "web")).err).toContain(
      "--format: the {{range}} is not closed by {{end}}, at character 1",
    );
  });

  it("leaves out what only a config tells that is gone", async () => {
    const record = await findContainer(paths(), "web");
    await rm(blobPath(layoutOf(paths().dataDir), record.image.configDigest));
    const [document] = JSON.parse(await good("inspect", "web")) as [{ Config: object; HostConfig: object }];
    expect(Object.keys(document.Config)).toEqual(
      "Hostname Domainname Tty OpenStdin Image Labels StopTimeout".split(" "),
    );
    expect(document.HostConfig).toEqual(HOST_CONFIG);
    await replaceRecord(paths(), { ...record, options: { ...record.options, network: "none" } });
    expect(
      await good("inspect", "-f", "{{json .FlameBox}} {{json .NetworkSettings.Networks}}", "web"),
    ).toMatch(/^\{\} \{"none":/);
  });
});

describe("what a container comes to", () => {
  const of = (options: object, own = config) =>
    configure({ id: "ab".repeat(32), args: ["/idle"], options }, own);

  it.each([
    ["the image's words", {}, { entrypoint: ["/entry"], command: ["serve"] }],
    ["a command of its own", { command: ["x"] }, { entrypoint: ["/entry"], command: ["x"] }],
    [
      "an entrypoint clears the image's command",
      { entrypoint: ["/e"] },
      { entrypoint: ["/e"], command: undefined },
    ],
    ["no entrypoint", { entrypoint: [], command: ["x"] }, { entrypoint: [], command: ["x"] }],
    ["an idle one", { idle: true }, { entrypoint: ["/idle"], command: undefined }],
    ["a host name that is made up", {}, { hostname: "abababababab" }],
    ["no check", { healthcheck: false }, { healthcheck: { test: ["NONE"] } }],
    [
      "a check of its own",
      { healthcheck: { test: ["CMD", "x"], intervalMs: 7 } },
      { healthcheck: { test: ["CMD", "x"], intervalMs: 7 } },
    ],
    [
      "a folder in the place of the image's volume",
      { binds: [{ source: "/a", target: "/data", readonly: false }] },
      { volumes: [] },
    ],
    ["a stop signal", { stopSignal: "9" }, { stopSignal: "9" }],
  ])("%s", (_, options, wanted) => {
    expect(of(options)).toMatchObject(wanted);
  });

  it("says nothing of a check that there is not", () => {
    expect(configure({ id: "ab".repeat(32), args: ["x"], options: {} }, {})).toMatchObject({
      healthcheck: undefined,
      env: [expect.stringMatching(/^PATH=/), "HOSTNAME=abababababab"],
      workdir: "/",
      user: "",
      exposedPorts: [],
    });
  });
});
