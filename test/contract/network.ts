/**
 * What a container reaches and who reaches it, on every VMM. Run by a test file a driver, with a way to start containers
 * of an image that has busybox and network-probe (test/support/images/network.sh).
 */
import { createSocket } from "node:dgram";
import type { Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ContainerOptions, RunningContainer } from "../../src/container/options.ts";
import { systemCode } from "../../src/util/error.ts";

/** Starts a container of the network image. */
export type StartContainer = (options: ContainerOptions) => Promise<RunningContainer>;

/** An address of this host's that a container may reach, and one that only its neighbours on the cable should. */
function hostAddress(isLinkLocal: boolean): string | undefined {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const fits = (address: string): boolean => address.startsWith("169.254.") === isLinkLocal;
  return addresses.find(({ family, internal, address }) => family === "IPv4" && !internal && fits(address))
    ?.address;
}
const external = hostAddress(false);
const linkLocal = hostAddress(true);

const ANSWER_MS = 60_000;

async function bindUdp(address: string): Promise<DatagramSocket> {
  const socket = createSocket("udp4");
  socket.bind(0, address);
  await once(socket, "listening");
  return socket;
}

/** A name server of one answer: the question comes back with 192.0.2.77 behind it. */
async function nameServer(): Promise<DatagramSocket> {
  const names = await bindUdp("0.0.0.0");
  names.on("message", (question, from) => {
    const head = Buffer.from("81800001000100000000", "hex");
    const answer = Buffer.from("c00c000100010000000a0004c000024d", "hex");
    const end = question.indexOf(0, 12) + 5;
    const parts = [question.subarray(0, 2), head, question.subarray(12, end), answer];
    names.send(Buffer.concat(parts), from.port, from.address);
  });
  return names;
}

async function askTcp(host: string, hostPort: number, words: string): Promise<string> {
  const socket = connect(hostPort, host).setTimeout(ANSWER_MS, () => socket.destroy(new Error("no answer")));
  socket.end(words);
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

async function refusal(host: string, hostPort: number): Promise<string> {
  return await askTcp(host, hostPort, "x").catch((error: unknown) => systemCode(error) ?? String(error));
}

/** A datagram may be lost, so it is sent until there is an answer. */
async function askUdp(host: string, hostPort: number, words: string): Promise<string> {
  const socket = createSocket("udp4");
  const send = () => socket.send(words, hostPort, host);
  send();
  const sending = setInterval(send, 500);
  try {
    const [message] = (await once(socket, "message", { signal: AbortSignal.timeout(ANSWER_MS) })) as [Buffer];
    return message.toString();
  } finally {
    clearInterval(sending);
    socket.close();
  }
}

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
    let server: Server;
    let port: number;
    beforeAll(async () => {
      // On every address, so that only what the guest can reach decides.
      server = createServer((_request, response) => response.end("from the host\n")).listen(0, "0.0.0.0");
      await once(server, "listening");
      const address = server.address();
      port = address !== null && typeof address === "object" ? address.port : 0;
    });
    afterAll(() => {
      server.closeAllConnections();
      server.close();
    });

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
      // passt gives up on a guest that is too slow, as an emulated one is at times: what can be reached is asked again.
      const ask = (place: string, tries: number) =>
        `for n in $(seq ${tries}); do timeout 30 wget -q -O - http://${place}:${port}/ 2>/dev/null && exit; done; echo no`;
      const script = all.map((place) => `echo ${place} $(${ask(place, place === external ? 4 : 1)})`);
      const { code, out, said } = await run({ command: shell(script.join("; ")), ...opened });
      const expected = all.map((place) => `${place} ${place === external ? "from the host" : "no"}\n`);
      expect({ code, out }, said).toEqual({ code: 0, out: expected.join("") });
    });

    test.skipIf(external === undefined)(
      "UDP and names get out (skipped when the host has no address to answer at)",
      async () => {
        const names = await nameServer();
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

    test("none means none: loopback only", async () => {
      const command = shell("ls /sys/class/net; cat /etc/resolv.conf | wc -c");
      expect(await run({ network: "none", command })).toMatchObject({ code: 0, out: "lo\n0\n" });
    });

    test("the interface has the address that was asked for, and resolv.conf says what was asked", async () => {
      const command = shell("cat /sys/class/net/eth0/address; grep -v '^#' /etc/resolv.conf");
      const options = { macAddress: "02:00:00:12:34:56", dns: ["192.0.2.53"], dnsSearch: ["box.test"] };
      const { code, out } = await run({ ...options, command });
      expect(code).toBe(0);
      expect(out.trim().split("\n").sort()).toEqual(
        ["02:00:00:12:34:56", "nameserver 192.0.2.53", "search box.test"].sort(),
      );
    });
  });

  describe(`published ports of ${name}`, () => {
    let container: RunningContainer;
    const portOf = (protocol: string): number =>
      container.ports.find((mapping) => mapping.protocol === protocol)?.hostPort ?? 0;

    beforeAll(async () => {
      // Port 0: the host chooses, and `ports` tells.
      const publish = (["tcp", "udp", "udp"] as const).map((protocol) => ({
        hostPort: 0,
        containerPort: 7000,
        protocol,
      }));
      container = await start({ publish, command: ["network-probe", "serve", "7000"] });
      await once(container.stdout, "data");
    });
    afterAll(async () => await container[Symbol.asyncDispose]());

    test("TCP", async () => {
      expect(await askTcp("127.0.0.1", portOf("tcp"), "over tcp")).toBe("OVER TCP");
    });

    test("UDP", async () => {
      expect(await askUdp("127.0.0.1", portOf("udp"), "over udp")).toBe("OVER UDP");
    });

    test.skipIf(external === undefined)(
      "on the address that was asked for only (skipped when the host has no other)",
      async () => {
        expect(await refusal(external ?? "", portOf("tcp"))).toBe("ECONNREFUSED");
      },
    );

    test("UDP clients get their own answers, at the published port and at another of the same", async () => {
      const texts = Array.from({ length: 20 }, (_, i) => `client ${i}`);
      const ports = container.ports.filter(({ protocol }) => protocol === "udp");
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
