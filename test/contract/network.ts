/**
 * What a container reaches and who reaches it, on every VMM. Run by a test file a driver, with a way to start containers
 * of an image that has busybox and network-probe (test/support/images/network.sh).
 */
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ContainerOptions, RunningContainer } from "../../src/container/options.ts";
import type { WebServer } from "./host-network.ts";
import {
  askTcp,
  askUdp,
  asking,
  bindUdp,
  external,
  linkLocal,
  nameServer,
  refusal,
  webServer,
} from "./host-network.ts";

/** Starts a container of the network image. */
export type StartContainer = (options: ContainerOptions) => Promise<RunningContainer>;

const OTHER_LOOPBACK = "127.0.0.2";

export function networkContract(name: string, start: StartContainer): void {
  const run = async (options: ContainerOptions): Promise<{ code: number; out: string; said: string }> => {
    await using container = await start(options);
    const [out, said, { code }] = await Promise.all([
      text(container.stdout),
      text(container.stderr),
      container.wait(),
    ]);
    return { code, out, said };
  };
  const shell = (script: string) => ["sh", "-c", script];

  describe(`the network of ${name}, outwards`, () => {
    let server: WebServer;
    beforeAll(async () => (server = await webServer("from the host")));
    afterAll(() => server.close());

    // The host's own address is out of reach unless a rule names it.
    const opened = external === undefined ? {} : { egress: { policy: "allow", allow: [external] } as const };

    // One machine for all: that something is out of reach shows only beside something that is not.
    test("TCP gets out, and neither the host's loopback nor a link-local address is reached", async () => {
      const places = ["127.0.0.1", "localhost", "10.0.2.2"];
      const all = [
        ...places,
        ...(linkLocal === undefined ? [] : [linkLocal]),
        ...(external ? [external] : []),
      ];
      const script = all.map(
        (place) => `echo ${place} $(${asking(`${place}:${server.port}`, place === external)})`,
      );
      const { code, out, said } = await run({ command: shell(script.join("; ")), ...opened });
      const expected = all.map((place) => `${place} ${place === external ? "from the host" : "no"}\n`);
      expect({ code, out }, said).toEqual({ code: 0, out: expected.join("") });
    });

    test.skipIf(external === undefined)(
      "UDP and names get out (skipped when the host has no address to answer at)",
      async () => {
        const names = await nameServer("192.0.2.77");
        try {
          const command = ["nslookup", "box.test", `${external}:${names.address().port}`];
          const { code, out, said } = await run({ command, ...opened });
          expect({ code, answer: /Address: (192\S+)/.exec(out)?.[1] }, said).toEqual({
            code: 0,
            answer: "192.0.2.77",
          });
        } finally {
          names.close();
        }
      },
    );

    test.skipIf(external === undefined)(
      "frames that name the host's own addresses do not reach it (skipped when it has no other)",
      async () => {
        const sockets = [await bindUdp("127.0.0.1"), await bindUdp("0.0.0.0")];
        const seen: string[] = [];
        for (const socket of sockets)
          socket.on("message", (words, from) => seen.push(`${words.toString()} from ${from.address}`));
        const ports = sockets.map((socket) => String(socket.address().port)).join(",");
        const own = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "10.0.2.2", ...(linkLocal ? [linkLocal] : [])];
        const command = ["network-probe", "craft", ports, ...own, external ?? ""];
        const { code, said } = await run({ command, ...opened });
        for (const socket of sockets) socket.close();
        // The last shows that such a frame arrives where it may.
        expect({ code, seen }, said).toEqual({ code: 0, seen: [`to ${external} from ${external}`] });
      },
    );
  });

  describe(`published ports of ${name}`, () => {
    let container: RunningContainer;
    const portOf = (protocol: string, inside = 7000, at = "127.0.0.1"): number =>
      container.ports.find(
        ({ protocol: own, containerPort, hostAddress }) =>
          own === protocol && containerPort === inside && hostAddress === at,
      )?.hostPort ?? 0;

    beforeAll(async () => {
      // Port 0: the host chooses, and `ports` tells.
      const publish = (["tcp", "udp", "udp"] as const).map((protocol) => ({
        hostPort: 0,
        containerPort: 7000,
        protocol,
      }));
      const elsewhere = {
        hostAddress: OTHER_LOOPBACK,
        hostPort: 0,
        containerPort: 7000,
        protocol: "tcp",
      } as const;
      container = await start({
        publish: [...publish, elsewhere],
        publishAll: true,
        expose: ["7001-7002", "7001/udp"],
        command: ["network-probe", "serve", "7000"],
      });
      await once(container.stdout, "data");
      const second = await container.exec(["network-probe", "serve", "7001"]);
      await once(second.stdout, "data");
    });
    afterAll(async () => await container[Symbol.asyncDispose]());

    test("TCP", async () => {
      expect(await askTcp("127.0.0.1", portOf("tcp"), "over tcp")).toBe("OVER TCP");
    });

    test("UDP", async () => {
      expect(await askUdp("127.0.0.1", portOf("udp"), "over udp")).toBe("OVER UDP");
    });

    test("all that are exposed, where that is asked for, each on a port of its own", async () => {
      expect(await askTcp("127.0.0.1", portOf("tcp", 7001), "the second")).toBe("THE SECOND");
      expect(await askUdp("127.0.0.1", portOf("udp", 7001), "the second")).toBe("THE SECOND");
      const published = container.ports.map(({ hostAddress, hostPort, protocol }) =>
        [hostAddress, hostPort, protocol].join(" "),
      );
      expect(published).toHaveLength(7);
      expect(new Set(published).size).toBe(published.length);
    });

    test("on another address of loopback, and there only", async () => {
      const port = portOf("tcp", 7000, OTHER_LOOPBACK);
      expect(await askTcp(OTHER_LOOPBACK, port, "elsewhere")).toBe("ELSEWHERE");
      expect(await refusal("127.0.0.1", port)).toBe("ECONNREFUSED");
    });

    test.skipIf(external === undefined)(
      "on the address that was asked for only (skipped when the host has no other)",
      async () => {
        expect(await refusal(external ?? "", portOf("tcp"))).toBe("ECONNREFUSED");
      },
    );

    test("UDP clients get their own answers, at the published port and at another of the same", async () => {
      const texts = Array.from({ length: 20 }, (_, i) => `client ${i}`);
      const ports = container.ports.filter(
        ({ protocol, containerPort }) => protocol === "udp" && containerPort === 7000,
      );
      expect(ports.length).toBe(2);
      const answers = await Promise.all(
        texts.map(async (words, i) => await askUdp("127.0.0.1", ports[i % 2]?.hostPort ?? 0, words)),
      );
      expect(answers).toEqual(texts.map((words) => words.toUpperCase()));
    });

    test.each(["tcp", "udp"] as const)(
      "a %s port that somebody has is an error that names it",
      async (protocol) => {
        const hostPort = portOf(protocol);
        const publish = [{ hostPort, containerPort: 80, protocol }];
        await expect(run({ publish, command: ["true"] })).rejects.toMatchObject({
          code: "port-in-use",
          message: expect.stringContaining(String(hostPort)) as string,
        });
      },
    );
  });
}
