/**
 * Machines in a network of CNI, made by Debian's own plugins: bridge, host-local and portmap. On the host it is a bridge
 * with a subnet that nobody else here has; both go in the end.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:http";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { overlaps } from "../../src/network/host-address.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const image = `${inject("registry")}/flamebox/busybox:1`;
const run = promisify(execFile);

/** Why there can be none here; undefined where there can. */
function reason(): string | undefined {
  if (process.getuid?.() !== 0) return "without root, whose networks these are";
  const missing = ["bridge", "host-local", "portmap"].find((name) => !existsSync(join("/usr/lib/cni", name)));
  if (missing !== undefined) return "Debian's containernetworking-plugins are not installed";
  const iptables = ["/usr/sbin/iptables", "/sbin/iptables"].some((path) => existsSync(path));
  return iptables ? undefined : "iptables is not installed, which the plugin portmap runs";
}

const taken = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
const free = Array.from({ length: 250 }, (_, i) => `10.231.${i}`).find(
  (prefix) => !taken.some((other) => other.family === "IPv4" && overlaps(`${prefix}.0`, other)),
);
const prefix = free ?? "10.231.0";
const bridge = `fb${process.pid % 100_000}br`;
const network = `fb${process.pid}`;

let home: Home;
let confDir: string;
let leases: string;
const hostServer = createServer(({ url, socket }, response) =>
  response.end(url === "/much" ? Buffer.alloc(1 << 20, "x") : `the host to ${socket.remoteAddress}\n`),
);

const flamebox = async (...args: readonly string[]) =>
  await home.run(args, { env: { NETCONFPATH: confDir, CNI_PATH: "/usr/lib/cni" } });
const inNetwork = ["-q", "--network", `cni:${network}`] as const;

/** What is the network's on the host, besides the bridge itself. */
async function left(): Promise<string[]> {
  const { stdout: links } = await run("ip", ["-o", "link", "show", "master", bridge]).catch(() => ({
    stdout: "",
  }));
  const { stdout: rules } = await run("iptables-save", [], {
    env: { PATH: "/usr/sbin:/sbin:/usr/bin:/bin" },
  });
  const names = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : []);
  return [
    ...links.split("\n").filter(Boolean),
    ...rules.split("\n").filter((line) => line.includes(`${prefix}.`) || line.includes(`"${network}"`)),
    ...names(join(leases, network)).filter((name) => name.startsWith(prefix)),
    ...names("/run/netns").filter((name) => name.startsWith("cni.")),
    ...names(join(home.paths.dataDir, "cni")),
  ];
}

const NAT = ["-w", "-t", "nat"];
const PLUGIN_CHAINS = ["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK"];

async function natRules(): Promise<string[]> {
  const { stdout } = await run("/usr/sbin/iptables", [...NAT, "-S"]).catch(() => ({ stdout: "" }));
  return stdout.split("\n").filter((line) => line.includes("CNI-HOSTPORT-"));
}

/** The plugin portmap leaves the chains that all its ports share, and that nobody else here may have had before. */
async function removePluginChains(): Promise<void> {
  const rules = await natRules();
  if (rules.some((rule) => rule.startsWith("-A CNI-HOSTPORT-DNAT "))) return;
  const words = (rule: string): string[] =>
    (rule.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ""));
  for (const rule of rules.filter((line) => line.startsWith("-A ")))
    await run("/usr/sbin/iptables", [...NAT, "-D", ...words(rule).slice(1)]);
  for (const chain of PLUGIN_CHAINS) await run("/usr/sbin/iptables", [...NAT, "-X", chain]);
}

const why = reason();
describe.skipIf(why !== undefined)(`a network of CNI${why === undefined ? "" : ` (skipped ${why})`}`, () => {
  let hadChains = false;
  beforeAll(async () => {
    hadChains = (await natRules()).length > 0;
    home = await makeHome(inject("kernelDir"));
    confDir = join(home.dir, "net.d");
    leases = join(home.dir, "leases");
    mkdirSync(confDir);
    const ipam = {
      type: "host-local",
      dataDir: leases,
      ranges: [[{ subnet: `${prefix}.0/24` }]],
      routes: [{ dst: "0.0.0.0/0" }],
    };
    const plugins = [
      { type: "bridge", bridge, isGateway: true, ipMasq: true, hairpinMode: true, mtu: 1_450, ipam },
      { type: "portmap", capabilities: { portMappings: true } },
    ];
    writeFileSync(
      join(confDir, "10-test.conflist"),
      JSON.stringify({ cniVersion: "1.0.0", name: network, plugins }),
    );
    await new Promise<void>((resolve) => hostServer.listen(0, "0.0.0.0", resolve));
  });
  afterAll(async () => {
    hostServer.close();
    await flamebox("rm", "-f", "web");
    await run("ip", ["link", "del", bridge]).catch(() => {});
    if (!hadChains) await removePluginChains();
    await home[Symbol.asyncDispose]();
  });

  test("has its machines reach the host, each other, and whoever calls at a published port", async () => {
    const { port } = hostServer.address() as AddressInfo;
    const serve = "mkdir /www; echo web >/www/index.html; exec httpd -f -p 80 -h /www";
    const wishes = ["--name", "web", "--ip", `${prefix}.77`, "-p", "0:80"];
    const started = await flamebox("run", "-d", ...inNetwork, ...wishes, image, "sh", "-c", serve);
    expect(started).toMatchObject({ code: 0, stderr: "" });
    const published = (await flamebox("port", "web", "80")).stdout.trim();
    const answer = await fetch(`http://${published}/`, { signal: AbortSignal.timeout(30_000) });
    expect(await answer.text()).toBe("web\n");
    const shown = await flamebox("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web");
    expect(shown.stdout).toBe(`${prefix}.77\n`);
    const ask = [
      `wget -q -O - http://${prefix}.1:${port}/`,
      `wget -q -O - http://${prefix}.77/`,
      "cat /sys/class/net/eth0/mtu",
      "ip route | grep -c default",
      // So much that the host's kernel leaves it to hardware to cut it into frames.
      `wget -q -O - http://${prefix}.1:${port}/much | wc -c`,
    ].join("; ");
    const asked = await flamebox("run", "--rm", ...inNetwork, image, "sh", "-c", ask);
    expect(asked).toMatchObject({ code: 0, stderr: "" });
    expect(asked.stdout.split("\n")).toEqual([
      expect.stringMatching(`^the host to ${prefix.replaceAll(".", "\\.")}\\.\\d+$`),
      "web",
      "1450",
      "1",
      "1048576",
      "",
    ]);
  });

  test("obeys the rules of egress, and is listed", async () => {
    const ask = `wget -q -T 20 -O - http://${prefix}.77/ || echo refused`;
    const denied = await flamebox("run", "--rm", ...inNetwork, "--egress", "deny", image, "sh", "-c", ask);
    expect(denied.stdout).toBe("refused\n");
    expect((await flamebox("network", "ls", "--format", "{{.Name}} {{.Driver}}")).stdout).toBe(
      `cni:${network} cni (bridge, portmap)\n`,
    );
  });

  test("says what it is asked and cannot", async () => {
    const missing = await flamebox("run", "--rm", "-q", "--network", "cni:nowhere", image, "true");
    expect(missing.stderr).toContain(`there is no network "nowhere" in ${confDir}`);
    const taken = await flamebox("run", "--rm", ...inNetwork, "--ip", `${prefix}.77`, image, "true");
    expect(taken.stderr).toMatch(/the CNI plugin bridge failed at ADD: .*77/);
  });

  test("leaves nothing on the host when its machines have ended, or their process was killed", async () => {
    const running = home.spawn(["run", "--rm", ...inNetwork, image, "sh", "-c", "echo up; sleep 600"], {
      NETCONFPATH: confDir,
    });
    await running.shows("up");
    expect((await left()).length).toBeGreaterThan(6);
    running.child.kill("SIGKILL");
    await running.ended;
    await flamebox("rm", "-f", "web");
    // The next command takes away what the killed one left; `rm` was one, while its processes were about to end.
    await home.leftoverProcesses();
    await flamebox("images");
    expect(await left()).toEqual([]);
    expect(await home.leftovers()).toEqual([]);
  });
});
