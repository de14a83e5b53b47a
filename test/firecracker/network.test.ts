import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, inject, test } from "vitest";
import type { ContainerOptions, RunningContainer } from "../../src/container/options.ts";
import { startOn } from "../../src/container/start.ts";
import { networkOptionsContract } from "../contract/network-options.ts";
import { networkContract } from "../contract/network.ts";
import { PATIENCE, firecrackerHost, isRoot, leftOfMachines } from "./setup.ts";

const { networkImage, paths } = inject("firecracker");

async function start(options: ContainerOptions): Promise<RunningContainer> {
  const surroundings = { ...PATIENCE, prepareHost: async () => await firecrackerHost() };
  return await startOn(surroundings, networkImage, { paths, dockerConfig: null, ...options });
}

networkContract("Firecracker", start);
networkOptionsContract("Firecracker", { start, paths: () => paths });

const PLUGINS = "/usr/lib/cni";
const hasPlugins = ["ptp", "host-local"].every((name) => existsSync(join(PLUGINS, name)));

test.skipIf(!isRoot || !hasPlugins)(
  "a machine is in a network of CNI (skipped without root, or without Debian's containernetworking-plugins)",
  async () => {
    const dir = mkdtempSync(join(tmpdir(), "flamebox-cni-"));
    try {
      const ipam = {
        type: "host-local",
        dataDir: join(dir, "leases"),
        ranges: [[{ subnet: "10.231.251.0/24" }]],
        routes: [{ dst: "0.0.0.0/0" }],
      };
      const config = { cniVersion: "1.0.0", name: "pair", type: "ptp", mtu: 1_400, ipam };
      writeFileSync(join(dir, "pair.conf"), JSON.stringify(config));
      const ask = "cat /sys/class/net/eth0/mtu; ping -c 1 -W 60 10.231.251.1 >/dev/null && echo answered";
      await using container = await start({
        network: "cni:pair",
        cni: { confDir: dir, pluginDirs: [PLUGINS] },
        command: ["sh", "-c", ask],
      });
      const [out, said] = await Promise.all([
        text(container.stdout),
        text(container.stderr),
        container.wait(),
      ]);
      expect(out, said).toBe("1400\nanswered\n");
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
    expect(execFileSync("ip", ["netns"], { encoding: "utf8" })).not.toMatch(/^cni\./m);
  },
);

test("nothing of all these is left", async () => {
  expect(await leftOfMachines()).toEqual([]);
});
