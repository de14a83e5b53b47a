/** Files of CNI networks, and what their plugins say: tables of what is taken and what is not. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { configFor } from "../../src/network/cni/chain.ts";
import { findConfig, loadConfigs, parseConfig } from "../../src/network/cni/config.ts";
import { parseResult } from "../../src/network/cni/result.ts";
import { formatAddress } from "../../src/network/address.ts";

const dir = mkdtempSync(join(tmpdir(), "flamebox-cni-config-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const plugin = (type: unknown, more: object = {}) => ({ type, ...more });
const conflist = (more: object = {}) =>
  JSON.stringify({ cniVersion: "1.0.0", name: "shop", plugins: [plugin("bridge")], ...more });

describe("a network's file", () => {
  it("is a list of plugins, with what they want to be told", () => {
    const text = conflist({
      plugins: [
        plugin("bridge", { ipam: { type: "host-local" } }),
        plugin("portmap", { capabilities: { portMappings: true, mac: false } }),
        // What it does for other VMMs is done here without it.
        plugin("tc-redirect-tap"),
      ],
    });
    const { name, cniVersion, plugins } = parseConfig(text, "f");
    expect([name, cniVersion]).toEqual(["shop", "1.0.0"]);
    expect(plugins.map(({ type, capabilities }) => [type, capabilities])).toEqual([
      ["bridge", []],
      ["portmap", ["portMappings"]],
    ]);
  });

  it("with one plugin is a list of one", () => {
    const text = JSON.stringify({ cniVersion: "0.4.0", name: "one", type: "ptp" });
    expect(parseConfig(text, "f").plugins.map(({ type }) => type)).toEqual(["ptp"]);
  });

  it.each([
    ["nothing", ""],
    ["no JSON", "{"],
    ["a list", "[]"],
    ["a word", '"bridge"'],
    ["without a name", conflist({ name: undefined })],
    ["a name that is a path", conflist({ name: "../shop" })],
    ["a name without end", conflist({ name: "a".repeat(200) })],
    ["without a version", conflist({ cniVersion: undefined })],
    ["of a version without chains", conflist({ cniVersion: "0.2.0" })],
    ["of a version to come", conflist({ cniVersion: "9.0.0" })],
    ["without plugins", conflist({ plugins: [] })],
    ["plugins that are no list", conflist({ plugins: { 0: plugin("bridge") } })],
    ["plugins without end", conflist({ plugins: Array.from({ length: 99 }, () => plugin("bridge")) })],
    ["a plugin that is none", conflist({ plugins: ["bridge"] })],
    ["a plugin without a type", conflist({ plugins: [{}] })],
    ["a plugin that is a path", conflist({ plugins: [plugin("../../bin/sh")] })],
    ["a plugin of a folder", conflist({ plugins: [plugin("/bin/sh")] })],
    ["a plugin that is the folder", conflist({ plugins: [plugin("..")] })],
    ["a plugin that is a number", conflist({ plugins: [plugin(7)] })],
    ["an ipam that is a path", conflist({ plugins: [plugin("bridge", { ipam: { type: "../sh" } })] })],
    ["an ipam that is none", conflist({ plugins: [plugin("bridge", { ipam: "host-local" })] })],
    ["capabilities that are none", conflist({ plugins: [plugin("bridge", { capabilities: ["ips"] })] })],
    ["nothing but what is not needed", conflist({ plugins: [plugin("tc-redirect-tap")] })],
  ])("is refused: %s", (_name, text) => {
    expect(() => parseConfig(text, "f")).toThrow(expect.objectContaining({ code: "cni-bad-config" }));
  });

  it("is found by its name, the first of some, whatever else lies there", async () => {
    const confDir = join(dir, "net.d");
    mkdirSync(join(confDir, "30-folder.conflist"), { recursive: true });
    writeFileSync(join(confDir, "20-shop.conflist"), conflist({ cniVersion: "0.4.0" }));
    writeFileSync(join(confDir, "10-shop.conflist"), conflist());
    writeFileSync(join(confDir, "00-bad.conf"), "{");
    writeFileSync(join(confDir, "05-large.conf"), Buffer.alloc(2 << 20, " "));
    writeFileSync(join(confDir, "notes.txt"), conflist({ name: "notes" }));
    expect((await findConfig(confDir, "shop")).cniVersion).toBe("1.0.0");
    const { networks, problems } = await loadConfigs(confDir);
    expect([networks.map(({ name }) => name), problems.length]).toEqual([["shop"], 3]);
    await expect(findConfig(confDir, "shpo")).rejects.toMatchObject({
      code: "network-missing",
      hint: "did you mean cni:shop?",
    });
    await expect(findConfig(join(dir, "none"), "shop")).rejects.toMatchObject({ code: "network-missing" });
  });
});

describe("what a plugin is given", () => {
  const [first, second] = parseConfig(
    conflist({ plugins: [plugin("a", { x: 1 }), plugin("b", { capabilities: { ips: true, mac: true } })] }),
    "f",
  ).plugins;
  const network = parseConfig(conflist(), "f");
  const runtimeConfig = { ips: ["10.1.0.7"], portMappings: [] };

  it("is its own configuration, the network's name and version, and what it asked for", () => {
    expect(first && configFor({ network, runtimeConfig }, first, undefined)).toEqual({
      type: "a",
      x: 1,
      name: "shop",
      cniVersion: "1.0.0",
    });
    expect(second && configFor({ network, runtimeConfig }, second, { ips: [] })).toEqual({
      type: "b",
      capabilities: { ips: true, mac: true },
      name: "shop",
      cniVersion: "1.0.0",
      runtimeConfig: { ips: ["10.1.0.7"] },
      prevResult: { ips: [] },
    });
  });
});

const sandbox = "/run/netns/x";
const interfaces = [{ name: "br0" }, { name: "veth1" }, { name: "eth0", mac: "02:00:00:00:00:01", sandbox }];
const result = (more: object = {}) =>
  JSON.stringify({
    cniVersion: "1.0.0",
    interfaces,
    ips: [{ address: "10.1.0.5/24", gateway: "10.1.0.1", interface: 2 }],
    routes: [{ dst: "0.0.0.0/0" }],
    ...more,
  });

describe("a result", () => {
  it("has the addresses of the machine's interface, its gateways and its name servers", () => {
    const text = result({
      ips: [
        { address: "10.1.0.5/24", gateway: "10.1.0.1", interface: 2 },
        { address: "fd00::5/64", gateway: "fd00::1", interface: 2 },
        { address: "192.0.2.9/24", interface: 0 },
      ],
      routes: [
        { dst: "10.96.0.0/12", gw: "10.1.0.9" },
        { dst: "0.0.0.0/0" },
        { dst: "::/0", gw: "fd00::2" },
        { dst: "0.0.0.0/0", gw: "10.1.0.77" },
      ],
      dns: { nameservers: ["10.1.0.1", "x y"], domain: "shop.test", search: ["a.test", "b\nnameserver 1"] },
    });
    const { addresses, gateways, otherRoutes, dns } = parseResult(text, "eth0");
    expect(addresses.map(({ address, prefixLength }) => [formatAddress(address), prefixLength])).toEqual([
      ["10.1.0.5", 24],
      ["fd00::5", 64],
    ]);
    expect(gateways.map(formatAddress)).toEqual(["10.1.0.1", "fd00::2"]);
    expect(otherRoutes).toEqual(["10.96.0.0/12"]);
    expect(dns).toEqual({ servers: ["10.1.0.1"], search: ["shop.test", "a.test"], options: [] });
  });

  it("without a default route has no gateway, and without interfaces all addresses count", () => {
    expect(parseResult(result({ routes: undefined }), "eth0").gateways).toEqual([]);
    expect(parseResult(result({ interfaces: [] }), "eth0").addresses.length).toBe(1);
  });

  it.each([
    ["nothing", ""],
    ["a list", "[]"],
    ["without addresses", result({ ips: [] })],
    ["with addresses of others only", result({ ips: [{ address: "10.1.0.5/24", interface: 0 }] })],
    ["with no interface of that name", result({ interfaces: [{ name: "eth1", sandbox }] })],
    ["with the interface on the host", result({ interfaces: [{ name: "eth0", sandbox: "" }] })],
    ["with an address that is none", result({ ips: [{ address: "10.1/24" }] })],
    ["with an address without a length", result({ ips: [{ address: "10.1.0.5" }] })],
    ["with a length that is none", result({ ips: [{ address: "10.1.0.5/33" }] })],
    ["with a gateway that is none", result({ ips: [{ address: "10.1.0.5/24", gateway: "x" }] })],
    ["with a gateway of the other family", result({ ips: [{ address: "10.1.0.5/24", gateway: "fd00::1" }] })],
    ["with a route to nowhere", result({ routes: [{ dst: "everywhere" }] })],
    ["with a route by way of nothing", result({ routes: [{ dst: "0.0.0.0/0", gw: 7 }] })],
    [
      "with more addresses than there is room for",
      result({ ips: Array.from({ length: 17 }, () => ({ address: "10.1.0.5/24" })) }),
    ],
    [
      "with addresses without end",
      result({ ips: Array.from({ length: 1_000 }, () => ({ address: "10.1.0.5/24" })) }),
    ],
    ["with a dns that is none", result({ dns: [] })],
  ])("is refused: %s", (_name, text) => {
    expect(() => parseResult(text, "eth0")).toThrow(expect.objectContaining({ code: "cni-bad-result" }));
  });
});
