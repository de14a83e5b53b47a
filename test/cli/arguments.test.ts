import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cniFrom, pathsFrom, pullOptionsFrom } from "../../src/cli/args/access.ts";
import { loadEnvFile, parseEnv, parseEnvFile } from "../../src/cli/args/environment.ts";
import { parseAddHost, parseDns, parseHostname, parsePublish } from "../../src/cli/args/network.ts";
import { containerOptions, type RunFlags } from "../../src/cli/args/run-options.ts";
import { parseCpus, parseMemoryMib, parseSize } from "../../src/cli/args/size.ts";
import { UsageError } from "../../src/cli/failure.ts";
import type { ContainerOptions } from "../../src/cli/library.ts";
import { locatePaths } from "../../src/util/paths.ts";

const NO_FILES = { env: [], labels: [] };
const environment = { SET: "from outside", EMPTY: "" };

/** The message of the UsageError that `job` throws. */
function complaint(job: () => unknown): string {
  try {
    job();
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return "it was accepted";
}

describe("--env", () => {
  it.each([
    ["a value", "A=b", ["A", "b"]],
    ["an empty value", "A=", ["A", ""]],
    ["equals signs in the value", "A=b=c", ["A", "b=c"]],
    ["a value with blanks and newlines", "A= b\nc ", ["A", " b\nc "]],
    ["inherited", "SET", ["SET", "from outside"]],
    ["inherited though empty", "EMPTY", ["EMPTY", ""]],
    ["inherited but not set", "UNSET", undefined],
    ["not inherited from the prototype", "toString", undefined],
  ])("%s", (_, argument, entry) => {
    expect(parseEnv(argument, environment)).toEqual(entry);
  });

  it.each([
    ["no name", "=b", "--env '=b' has no name before the '='"],
    ["nothing", "", "--env '' has no name before the '='"],
  ])("refuses %s", (_, argument, message) => {
    expect(complaint(() => parseEnv(argument, environment))).toBe(message);
  });
});

describe("--env-file", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "flamebox-env-"));
  });
  afterAll(async () => rm(directory, { recursive: true, force: true }));

  it.each([
    ["comments and empty lines", "# c\n\n  # d\nA=1\n", [["A", "1"]]],
    [
      "CRLF and a byte order mark",
      "\ufeffA=1\r\nB=2\r\n",
      [
        ["A", "1"],
        ["B", "2"],
      ],
    ],
    ["quotes, which are kept", "A=\"x\" 'y' #z", [["A", "\"x\" 'y' #z"]]],
    ["blanks before the name and in the value", "  A= x ", [["A", " x "]]],
    ["inherited variables", "SET\nUNSET\n", [["SET", "from outside"]]],
    [
      "no last newline",
      "A=1\nB=2",
      [
        ["A", "1"],
        ["B", "2"],
      ],
    ],
  ])("reads %s", (_, text, entries) => {
    expect(parseEnvFile(text, "f", environment)).toEqual(entries);
  });

  it.each([
    ["no name", "A=1\n=2", "env file 'f', line 2: there is no name before the '='"],
    ["a blank in the name", "A B=1", "env file 'f', line 1: the name 'A B' contains white space"],
    ["export", "export A=1", "env file 'f', line 1: the name 'export A' contains white space"],
    ["NUL", "A=\0", "env file 'f', line 1: there is a NUL byte"],
  ])("refuses %s", (_, text, message) => {
    expect(complaint(() => parseEnvFile(text, "f", environment))).toBe(message);
  });

  it.each([
    ["a file that is too long", Buffer.alloc(1024 * 1024 + 1, "a"), "has more than 1048576 bytes"],
    ["a file that is not UTF-8", Buffer.from([0x41, 0x3d, 0xff]), "is not UTF-8"],
  ])("refuses %s", async (name, content, message) => {
    const path = join(directory, name.replaceAll(" ", "-"));
    await writeFile(path, content);
    await expect(loadEnvFile(path, environment)).rejects.toThrow(`env file '${path}' ${message}`);
  });

  it("refuses a file that never ends without reading it to the end", async () => {
    await expect(loadEnvFile("/dev/zero", environment)).rejects.toThrow("has more than 1048576 bytes");
  });

  it("names a file that is not there", async () => {
    const missing = join(directory, "missing");
    await expect(loadEnvFile(missing, environment)).rejects.toThrow(
      `env file '${missing}' cannot be read: ENOENT`,
    );
  });
});

describe("sizes and counts", () => {
  it.each([
    ["512m", 512 * 2 ** 20],
    ["1g", 2 ** 30],
    ["1.5G", 1.5 * 2 ** 30],
    ["1GiB", 2 ** 30],
    ["10gb", 10 * 2 ** 30],
    ["2 t", 2 * 2 ** 40],
    ["64k", 65_536],
    ["4096", 4096],
    ["4096b", 4096],
  ])("size %s", (text, sizeBytes) => {
    expect(parseSize(text, "--x")).toBe(sizeBytes);
  });

  it.each([
    "",
    "m",
    "-1",
    "0",
    "0.0000001k",
    "1x",
    "1mm",
    "1e3",
    "0x10",
    "1,5g",
    " 1g",
    "9999999t",
    "9".repeat(400),
    "1.g",
  ])("refuses the size '%s'", (text) => {
    expect(complaint(() => parseSize(text, "--x"))).toBe(`--x '${text}' is not a size`);
  });

  it("rounds memory up to whole mebibytes", () => {
    expect(parseMemoryMib("512m")).toBe(512);
    expect(parseMemoryMib("1")).toBe(1);
    expect(parseMemoryMib("1048577")).toBe(2);
  });

  it.each([
    ["1", 1],
    ["2.0", 2],
    ["0.5", 0.5],
    [".25", 0.25],
    ["255", 255],
  ])("cpus %s", (text, cpus) => {
    expect(parseCpus(text)).toBe(cpus);
  });

  it.each([
    ["0", "--cpus '0' is not a number of CPUs"],
    ["0.0", "--cpus '0.0' is not a number of CPUs"],
    [".", "--cpus '.' is not a number of CPUs"],
    ["two", "--cpus 'two' is not a number of CPUs"],
    ["-1", "--cpus '-1' is not a number of CPUs"],
    ["1e1", "--cpus '1e1' is not a number of CPUs"],
    ["", "--cpus '' is not a number of CPUs"],
  ])("refuses cpus '%s'", (text, message) => {
    expect(complaint(() => parseCpus(text))).toBe(message);
  });
});

describe("--publish", () => {
  it.each([
    ["8080:80", [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }]],
    ["80", [{ hostPort: 0, containerPort: 80, protocol: "tcp" }]],
    ["0:80", [{ hostPort: 0, containerPort: 80, protocol: "tcp" }]],
    ["53:53/udp", [{ hostPort: 53, containerPort: 53, protocol: "udp" }]],
    ["8080:80/tcp", [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }]],
    ["0.0.0.0:8080:80", [{ hostAddress: "0.0.0.0", hostPort: 8080, containerPort: 80, protocol: "tcp" }]],
    ["127.0.0.1::80", [{ hostAddress: "127.0.0.1", hostPort: 0, containerPort: 80, protocol: "tcp" }]],
    ["[::1]:8080:80", [{ hostAddress: "::1", hostPort: 8080, containerPort: 80, protocol: "tcp" }]],
    ["[::]::80/udp", [{ hostAddress: "::", hostPort: 0, containerPort: 80, protocol: "udp" }]],
    [
      "8000-8001:80-81",
      [
        { hostPort: 8000, containerPort: 80, protocol: "tcp" },
        { hostPort: 8001, containerPort: 81, protocol: "tcp" },
      ],
    ],
  ])("%s", (argument, mappings) => {
    expect(parsePublish(argument)).toEqual(mappings);
  });

  it.each([
    ["", "that is not a port mapping"],
    [":", "that is not a port mapping"],
    ["8080:", "that is not a port mapping"],
    ["http:80", "'http' is not a port from 0 to 65535"],
    ["8080:http", "'http' is not a port from 1 to 65535"],
    ["8080:0", "'0' is not a port from 1 to 65535"],
    ["65536:80", "'65536' is not a port from 0 to 65535"],
    ["80:65536", "'65536' is not a port from 1 to 65535"],
    ["-1:80", "'-1' is not a port from 0 to 65535"],
    ["90-80:90-80", "'90-80' is not a port from 1 to 65535"],
    ["8000-8002:80-81", "the two ranges differ in length"],
    ["8080:80/sctp", "the protocol is neither tcp nor udp"],
    ["8080:80/tcp/udp", "the protocol is neither tcp nor udp"],
    ["localhost:8080:80", "'localhost' is not an IP address"],
    ["1.2.3:8080:80", "'1.2.3' is not an IP address"],
    ["::1:8080:80", "that is not a port mapping"],
    ["[127.0.0.1]:8080:80", "an IPv6 address, and no other, stands in brackets"],
    ["[::1:8080:80", "that is not a port mapping"],
    ["1:2:3:4", "that is not a port mapping"],
  ])("refuses '%s'", (argument, reason) => {
    expect(complaint(() => parsePublish(argument))).toBe(`--publish '${argument}': ${reason}`);
  });
});

describe("names and addresses", () => {
  it.each([
    ["db:10.0.0.5", { host: "db", address: "10.0.0.5" }],
    ["db=10.0.0.5", { host: "db", address: "10.0.0.5" }],
    ["a.b-c:fd00::1", { host: "a.b-c", address: "fd00::1" }],
    ["six:[::1]", { host: "six", address: "::1" }],
  ])("--add-host %s", (argument, entry) => {
    expect(parseAddHost(argument)).toEqual(entry);
  });

  it.each([
    ["db", "--add-host 'db' has no host name"],
    [":10.0.0.5", "--add-host ':10.0.0.5' has no host name"],
    ["a b:10.0.0.5", "--add-host 'a b:10.0.0.5' has no host name"],
    ["x\n1.2.3.4 evil:10.0.0.5", "--add-host 'x\n1.2.3.4 evil:10.0.0.5' has no host name"],
    ["db:ten", "--add-host 'db:ten': 'ten' is not an IP address"],
    ["db:", "--add-host 'db:': '' is not an IP address"],
  ])("refuses --add-host '%s'", (argument, message) => {
    expect(complaint(() => parseAddHost(argument))).toBe(message);
  });

  it("checks --dns and --hostname", () => {
    expect(parseDns("1.1.1.1")).toBe("1.1.1.1");
    expect(parseDns("2606:4700::1111")).toBe("2606:4700::1111");
    expect(complaint(() => parseDns("one.one"))).toBe("--dns 'one.one' is not an IP address");
    expect(parseHostname("web-1.example")).toBe("web-1.example");
    for (const bad of ["", "-a", "a b", "a/b", "x".repeat(65), "a..b", "a\n"]) {
      expect(complaint(() => parseHostname(bad))).toBe(
        `--hostname '${bad}' is not a host name of at most 64 characters`,
      );
    }
  });
});

describe("run's flags to the library's options", () => {
  const rows: readonly (readonly [string, RunFlags, readonly string[], ContainerOptions])[] = [
    ["nothing given, nothing said", {}, [], {}],
    ["a command", {}, ["echo", "-n", ""], { command: ["echo", "-n", ""] }],
    ["an entry point", { entrypoint: "/bin/sh" }, [], { entrypoint: ["/bin/sh"] }],
    ["the entry point taken away", { entrypoint: "" }, ["ls"], { entrypoint: [], command: ["ls"] }],
    [
      "variables, the last one counting",
      { env: ["A=1", "SET", "A=2", "UNSET"] },
      [],
      { env: { A: "2", SET: "from outside" } },
    ],
    [
      "the machine",
      { cpus: "2", memory: "1g", storageSize: "20g", kernel: "/boot/k", requireKvm: true },
      [],
      { cpus: 2, memoryMib: 1024, storageBytes: 20 * 2 ** 30, kernel: "/boot/k", requireKvm: true },
    ],
    [
      "the process",
      { workdir: "/w", user: "a:b", groupAdd: ["g", "7"], hostname: "h", interactive: true },
      [],
      { workdir: "/w", user: "a:b", groupAdd: ["g", "7"], hostname: "h", interactive: true },
    ],
    [
      "the network",
      { network: "user", dns: ["1.1.1.1"], addHost: ["a:1.2.3.4"], publish: ["1-2:3-4", "5:6/udp"] },
      [],
      {
        network: "user",
        dns: ["1.1.1.1"],
        addHosts: [{ host: "a", address: "1.2.3.4" }],
        publish: [
          { hostPort: 1, containerPort: 3, protocol: "tcp" },
          { hostPort: 2, containerPort: 4, protocol: "tcp" },
          { hostPort: 5, containerPort: 6, protocol: "udp" },
        ],
      },
    ],
    [
      "the image",
      { pull: "always", platform: "linux/arm64", insecure: true },
      [],
      { pull: "always", platform: "linux/arm64", insecure: true },
    ],
  ];
  it.each(rows)("%s", (_, flags, command, options) => {
    const access = pullOptionsFrom({}, environment);
    expect(containerOptions(flags, command, NO_FILES, environment)).toEqual({ ...access, ...options });
  });

  it("lets --env win over env files, and keeps a variable named __proto__", () => {
    const fileEntries = [
      ["A", "file"],
      ["B", "file"],
    ] as const;
    const files = { env: fileEntries, labels: [] };
    const { env } = containerOptions({ env: ["A=flag", "__proto__=x"] }, [], files, environment);
    expect(Object.entries(env ?? {})).toEqual([
      ["A", "flag"],
      ["B", "file"],
      ["__proto__", "x"],
    ]);
  });

  it.each<[string, RunFlags, string]>([
    ["a relative directory", { workdir: "w" }, "--workdir 'w' is not an absolute path"],
    ["an empty user", { user: "" }, "--user '' is not a user"],
    ["a user with two colons", { user: "a:b:c" }, "--user 'a:b:c' is not a user"],
    ["a group with a colon", { groupAdd: ["a:b"] }, "--group-add 'a:b' is not a group name or number"],
    ["a platform without an architecture", { platform: "linux" }, "--platform 'linux' is not a platform"],
    ["memory in words", { memory: "much" }, "--memory 'much' is not a size"],
    ["a storage size of nothing", { storageSize: "0" }, "--storage-size '0' is not a size"],
    ["ports without a network", { network: "none", publish: ["1:1"] }, "--publish needs a network"],
  ])("refuses %s", (_, flags, message) => {
    expect(complaint(() => containerOptions(flags, [], NO_FILES, environment))).toBe(message);
  });
});

describe("the environment", () => {
  it("places files and credentials", () => {
    expect(pathsFrom({ FLAMEBOX_HOME: "/f" }, { locatePaths })).toEqual({
      dataDir: "/f/data",
      runtimeDir: "/f/run",
    });
    expect(pathsFrom({ XDG_DATA_HOME: "/d", XDG_RUNTIME_DIR: "/r" }, { locatePaths })).toEqual({
      dataDir: "/d/flamebox",
      runtimeDir: "/r/flamebox",
    });
    expect(cniFrom({ NETCONFPATH: "/n", CNI_PATH: "/a::/b" })).toEqual({
      confDir: "/n",
      pluginDirs: ["/a", "/b"],
    });
    expect(cniFrom({ NETCONFPATH: "" })).toBeUndefined();
    expect(pullOptionsFrom({}, { DOCKER_CONFIG: "/c" })).toMatchObject({ dockerConfig: "/c/config.json" });
    expect(pullOptionsFrom({}, { DOCKER_CONFIG: "", HOME: "/h" })).toEqual({
      dockerConfig: "/h/.docker/config.json",
      containersAuthFiles: ["/h/.config/containers/auth.json"],
      registrySettings: ["/h/.config/flamebox/registries.json", "/etc/flamebox/registries.json"],
      certificateDirs: ["/h/.config/containers/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d"],
      trustStore: {},
      proxies: { http: undefined, https: undefined, except: undefined },
    });
    const everything = {
      HOME: "/h",
      XDG_CONFIG_HOME: "/x",
      XDG_RUNTIME_DIR: "/r",
      FLAMEBOX_HOME: "/f",
      REGISTRY_AUTH_FILE: "/auth.json",
      HTTPS_PROXY: "http://capital:1",
      https_proxy: "http://small:1",
      ALL_PROXY: "http://all:1",
      no_proxy: "a,b",
      SSL_CERT_FILE: "/bundle.pem",
      SSL_CERT_DIR: "/one::/two",
      NODE_EXTRA_CA_CERTS: "/extra.pem",
    };
    expect(pullOptionsFrom({ insecure: true, platform: "linux/arm64" }, everything)).toEqual({
      platform: "linux/arm64",
      insecure: true,
      dockerConfig: "/h/.docker/config.json",
      authFile: "/auth.json",
      containersAuthFiles: ["/r/containers/auth.json", "/x/containers/auth.json"],
      registrySettings: ["/f/registries.json", "/etc/flamebox/registries.json"],
      certificateDirs: ["/x/containers/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d"],
      trustStore: { files: ["/bundle.pem"], dirs: ["/one", "/two"], extraFile: "/extra.pem" },
      proxies: { http: "http://all:1", https: "http://small:1", except: "a,b" },
    });
  });
});
