/**
 * What each option of a container's network does, on every VMM. Run by a test file a driver, with a way to start containers
 * of an image that has busybox; few machines, so most options share one.
 */
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createNetwork, removeNetwork } from "../../src/container/networks.ts";
import type { ContainerOptions, RunningContainer } from "../../src/container/options.ts";
import type { Refusal } from "../../src/network/policy/refusals.ts";
import { CleanupStack } from "../../src/util/cleanup.ts";
import type { Paths } from "../../src/util/paths.ts";
import type { WebServer } from "./host-network.ts";
import { asking, external, nameServer, webServer } from "./host-network.ts";

export interface NetworkSetting {
  readonly start: (options: ContainerOptions) => Promise<RunningContainer>;
  /** Of the same home, where networks with names are made. */
  readonly paths: () => Paths;
}

const HOST_NAME = "host.flamebox.internal";
const SERVING = "mkdir /www; echo from $0 >/www/index.html; echo up; exec httpd -f -p 80 -h /www";

/** A line for each place: what is answered there, or "no". */
function askingAll(expected: Readonly<Record<string, string>>): string[] {
  const lines = Object.entries(expected).map(
    ([place, answer]) => `echo ${place} $(${asking(place, answer !== "no")})`,
  );
  return ["sh", "-c", lines.join("; ")];
}

function linesOf(expected: Readonly<Record<string, string>>): string[] {
  return Object.entries(expected).map(([place, answer]) => `${place} ${answer}`);
}

export function networkOptionsContract(name: string, { start, paths }: NetworkSetting): void {
  const run = async (options: ContainerOptions): Promise<{ code: number; lines: string[]; said: string }> => {
    await using container = await start(options);
    const [out, said, { code }] = await Promise.all([
      text(container.stdout),
      text(container.stderr),
      container.wait(),
    ]);
    return { code, lines: out.trim().split("\n"), said };
  };

  describe(`options of the network in ${name}`, () => {
    let allowed: WebServer;
    let other: WebServer;
    let denied: WebServer;
    beforeAll(async () => {
      allowed = await webServer("allowed");
      other = await webServer("other");
      denied = await webServer("denied");
    });
    afterAll(() => [allowed, other, denied].forEach((server) => server.close()));

    test("none means none: loopback only", async () => {
      const command = ["sh", "-c", "ls /sys/class/net; cat /etc/resolv.conf | wc -c"];
      expect(await run({ network: "none", command })).toMatchObject({ code: 0, lines: ["lo", "0"] });
    });

    test("the interface's address, the host's name, hosts and resolv.conf are as was asked", async () => {
      const show = [
        "cat /sys/class/net/eth0/address",
        "hostname",
        "grep -v '^#' /etc/resolv.conf | sort",
        "grep -E 'db.test|v6.test|abc.test' /etc/hosts | tr '\\t' ' '",
      ];
      const { code, lines } = await run({
        macAddress: "02:00:00:12:34:56",
        hostname: "abc.test",
        dns: ["192.0.2.53", "192.0.2.54"],
        dnsSearch: ["box.test"],
        dnsOptions: ["ndots:2"],
        addHosts: [
          { host: "db.test", address: "192.0.2.7" },
          { host: "v6.test", address: "2001:db8::7" },
        ],
        command: ["sh", "-c", show.join("; ")],
      });
      expect({ code, lines }).toEqual({
        code: 0,
        lines: [
          "02:00:00:12:34:56",
          "abc.test",
          "nameserver 192.0.2.53",
          "nameserver 192.0.2.54",
          "options ndots:2",
          "search box.test",
          "192.0.2.7 db.test",
          "2001:db8::7 v6.test",
          expect.stringMatching(/^\d+(\.\d+){3} abc\.test$/) as string,
        ],
      });
    });

    test.skipIf(external === undefined)(
      "rules hold for addresses, ports and protocols; deny counts more; the host's loopback is there by its name (skipped when the host has no other address)",
      async () => {
        const expected = {
          [`${external}:${allowed.port}`]: "allowed",
          [`${external}:${other.port}`]: "no",
          [`${external}:${denied.port}`]: "no",
          [`${HOST_NAME}:${other.port}`]: "other",
          [`127.0.0.1:${other.port}`]: "no",
        };
        const refused: Refusal[] = [];
        const { code, lines, said } = await run({
          egress: {
            policy: "deny",
            allow: [
              `${external}/32:${allowed.port}/tcp`,
              `${external}:${denied.port}`,
              `${external}:${other.port}/udp`,
            ],
            deny: [`${external}/32:${denied.port}`],
          },
          addHosts: [{ host: HOST_NAME, address: "host-gateway" }],
          onRefused: (refusal) => refused.push(refusal),
          command: askingAll(expected),
        });
        expect({ code, lines }, said).toEqual({ code: 0, lines: linesOf(expected) });
        expect(refused).toContainEqual(
          expect.objectContaining({ address: external, port: denied.port, protocol: "tcp" }),
        );
      },
    );

    test.skipIf(external === undefined)(
      "rules with names hold for the addresses of these names (skipped when the host has no other address)",
      async ({ skip }) => {
        const found = await nameServer(external ?? "", external, 53).catch(() => undefined);
        const names = found ?? skip("this user may not listen on port 53 of the host");
        const expected = {
          [`box.test:${allowed.port}`]: "allowed",
          [`other.test:${allowed.port}`]: "no",
        };
        try {
          const { code, lines, said } = await run({
            dns: [external ?? ""],
            egress: { allow: ["box.test", `${external}:${allowed.port}`] },
            onRefused: () => {},
            command: askingAll(expected),
          });
          expect({ code, lines }, said).toEqual({ code: 0, lines: linesOf(expected) });
        } finally {
          names.close();
        }
      },
    );

    test("a network with a name: by names, alias and address to each other, nobody else; an internal one nowhere", async () => {
      await using cleanup = new CleanupStack();
      const options = { paths: paths() };
      const shop = `shop${process.pid}`;
      const vault = `vault${process.pid}`;
      await createNetwork(shop, { ...options, subnet: "10.87.231.0/24" });
      cleanup.defer(async () => await removeNetwork(shop, options));
      await createNetwork(vault, { ...options, internal: true });
      cleanup.defer(async () => await removeNetwork(vault, options));
      const address = "10.87.231.77";
      const db = { network: shop, name: "db", networkAliases: ["store"], ipAddress: address };
      const server = cleanup.use(await start({ ...db, command: ["sh", "-c", SERVING, "db"] }));
      await once(server.stdout, "data");
      const inside = Object.fromEntries(
        ["db", "store", `db.${shop}`, address].map((place) => [place, "from db"]),
      );
      const fromShop = await run({ network: shop, command: askingAll(inside) });
      expect(fromShop).toMatchObject({ code: 0, lines: linesOf(inside) });
      const outside = {
        db: "no",
        [address]: "no",
        ...(external !== undefined && { [`${external}:${allowed.port}`]: "no" }),
      };
      const egress =
        external === undefined ? {} : { egress: { policy: "allow", allow: [external] } as const };
      const fromVault = await run({
        network: vault,
        ...egress,
        onRefused: () => {},
        command: askingAll(outside),
      });
      expect(fromVault).toMatchObject({ code: 0, lines: linesOf(outside) });
    });
  });
}
