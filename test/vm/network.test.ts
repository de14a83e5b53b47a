/** What a container reaches and who reaches it, through the library's own built package. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { networkInterfaces } from "node:os";
import { diagnose, run, start } from "flamebox";
import type { Refusal, RunningContainer } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { askTcp, askUdp, bindUdp, refusal } from "../contract/host-network.ts";
import { probesFor } from "../network/probes.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const debian = `${inject("registry")}/flamebox/debian:12`;
const external = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.family === "IPv4" && !one.internal)?.address;

const externalIpv6 = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.family === "IPv6" && !one.internal && !one.address.startsWith("fe80"))?.address;

let home: Home;
let server: Server;
let port: number;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  // On every address, so that only what the guest can reach decides.
  server = createServer((_request, response) => response.end("from the host\n")).listen(0, "0.0.0.0");
  await once(server, "listening");
  const address = server.address();
  port = address !== null && typeof address === "object" ? address.port : 0;
});
afterAll(async () => {
  server.close();
  await home[Symbol.asyncDispose]();
});

const common = () => ({ paths: home.paths, dockerConfig: null });

/** Prints a line for each ADDRESS:PORT of argv: the answer of an HTTP server there, or "no". */
const ask = `
import sys, urllib.request
for place in sys.argv[1:]:
    try:
        with urllib.request.urlopen(f"http://{place}/", timeout=5) as answer:
            print(place, answer.read().decode().strip())
    except OSError:
        print(place, "no")
`;

/**
 * Writes whole frames of standard input (hexadecimal, one a line) past the guest's own routing, and says of each whether
 * it was answered with a reset or with "prohibited" within some time.
 */
const craft = `
import select, socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("eth0", 0))
def transport(frame):
    if frame[12:14] == b"\\x08\\x00":
        return frame[23], frame[26:30], frame[14 + (frame[14] & 15) * 4:]
    if frame[12:14] == b"\\x86\\xdd":
        return frame[20], frame[22:38], frame[54:]
    return 0, b"", b""
def refuses(frame):
    protocol, _, rest = transport(frame)
    if protocol == 6:
        return len(rest) > 13 and rest[13] & 4
    return protocol in (1, 58) and rest[:2] in (b"\\x03\\x0d", b"\\x01\\x01")
for line in sys.stdin:
    wire.send(bytes.fromhex(line))
    until = time.monotonic() + 0.5
    said = "silence"
    while said == "silence" and (left := until - time.monotonic()) > 0:
        if select.select([wire], [], [], left)[0]:
            frame, origin = wire.recvfrom(65536)
            if origin[2] != socket.PACKET_OUTGOING and refuses(frame):
                said = "refused"
    print(said)
`;

/** https://www.rfc-editor.org/rfc/rfc3596#section-2.1 */
const AAAA = 28;

function ipv6Bytes(text: string): Buffer {
  const [before = "", behind] = text.split("::");
  const groups = (part = ""): number[] =>
    part
      .split(":")
      .filter(Boolean)
      .map((group) => Number(`0x${group}`));
  const [head, tail] = [groups(before), groups(behind)];
  const all = [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 255]));
}

describe("outbound", () => {
  // One machine for both: that something is out of reach shows only beside something that is not.
  test("TCP gets out, and the host is out of reach by every name for it that nobody allowed", async () => {
    const other = createServer((_request, response) => response.end("from another port\n")).listen(
      0,
      "0.0.0.0",
    );
    await once(other, "listening");
    const otherPort = (other.address() as { port: number }).port;
    const own = external === undefined ? [] : [external];
    const places = ["127.0.0.1", "localhost", "10.0.2.2", ...own].map((place) => `${place}:${port}`);
    const all = [...places, ...own.map((place) => `${place}:${otherPort}`)];
    const refused: Refusal[] = [];
    const { code, stdout, stderr } = await run(debian, {
      ...common(),
      egress: { policy: "allow", allow: own.map((place) => `${place}:${port}`) },
      onRefused: (refusal) => refused.push(refusal),
      command: ["python3", "-c", ask, ...all],
    });
    other.close();
    const reachable = external === undefined ? "" : `${external}:${port}`;
    const expected = all.map((place) => `${place} ${place === reachable ? "from the host" : "no"}\n`);
    expect({ code, out: stdout.toString() }, stderr.toString()).toEqual({ code: 0, out: expected.join("") });
    expect(refused).toContainEqual(expect.objectContaining({ address: "10.0.2.2", port, protocol: "tcp" }));
  });

  test.skipIf(external === undefined)(
    "UDP and names get out, and rules with names hold for their addresses (skipped when the host has no address to answer at)",
    async ({ skip }) => {
      // A name server of one answer: the question comes back as the answer, with the host's address behind it.
      const found = await bindUdp(external ?? "", 53).catch(() => undefined);
      const names = found ?? skip("this user may not listen on port 53 of the host");
      names.on("message", (question, from) => {
        const head = Buffer.from("81800001000100000000", "hex");
        const answer = Buffer.concat([
          Buffer.from("c00c000100010000000a0004", "hex"),
          Buffer.from((external ?? "").split(".").map(Number)),
        ]);
        const end = question.indexOf(0, 12) + 5;
        const parts = [question.subarray(0, 2), head, question.subarray(12, end), answer];
        names.send(Buffer.concat(parts), from.port, from.address);
      });
      const { code, stdout, stderr } = await run(debian, {
        ...common(),
        dns: [external ?? ""],
        egress: { allow: ["box.test", `${external}:${port}`] },
        onRefused: () => {},
        command: ["python3", "-c", ask, `box.test:${port}`, `other.test:${port}`],
      });
      names.close();
      const out = `box.test:${port} from the host\nother.test:${port} no\n`;
      expect({ code, out: stdout.toString() }, stderr.toString()).toEqual({ code: 0, out });
    },
  );

  test.skipIf(external === undefined || externalIpv6 === undefined)(
    "IPv6 gets out over the host's own, to addresses and to names that have nothing else (skipped when the host has no IPv6)",
    async ({ skip }) => {
      const found = await bindUdp(external ?? "", 53).catch(() => undefined);
      const names = found ?? skip("this user may not listen on port 53 of the host");
      // A name server that knows AAAA only.
      names.on("message", (question, from) => {
        const end = question.indexOf(0, 12) + 5;
        const isAsked = question.readUInt16BE(end - 4) === AAAA;
        const head = Buffer.from(`81800001000${isAsked ? 1 : 0}00000000`, "hex");
        const record = Buffer.from("c00c001c00010000000a0010", "hex");
        const answer = isAsked ? [record, ipv6Bytes(externalIpv6 ?? "")] : [];
        const parts = [question.subarray(0, 2), head, question.subarray(12, end), ...answer];
        names.send(Buffer.concat(parts), from.port, from.address);
      });
      const six = createServer((_request, response) => response.end("over six\n")).listen(0, "::");
      await once(six, "listening");
      const at = (six.address() as { port: number }).port;
      const { code, stdout, stderr } = await run(debian, {
        ...common(),
        dns: [external ?? ""],
        egress: { allow: ["six.test", `[${externalIpv6}]:${at}`] },
        onRefused: () => {},
        command: ["python3", "-c", ask, `six.test:${at}`, `[${externalIpv6}]:${at}`, `[${externalIpv6}]:1`],
      });
      names.close();
      six.close();
      const out = `six.test:${at} over six\n[${externalIpv6}]:${at} over six\n[${externalIpv6}]:1 no\n`;
      expect({ code, out: stdout.toString() }, stderr.toString()).toEqual({ code: 0, out });
    },
  );

  test.skipIf(external === undefined)("ping is answered where passt may have ping sockets", async () => {
    const { code, stdout } = await run(busybox, {
      ...common(),
      egress: { allow: [external ?? ""] },
      onRefused: () => {},
      command: ["ping", "-c", "1", "-W", "3", external ?? ""],
    });
    const { checks } = await diagnose(common());
    const isAllowed = checks.find(({ name }) => name === "ping")?.status === "ok";
    // Elsewhere a guest's echo request is lost, and the doctor has said so.
    const [, received] = / (\d+) packets received/.exec(stdout.toString()) ?? [];
    expect([code, received]).toEqual(isAllowed ? [0, "1"] : [1, "0"]);
  });

  test.skipIf(external === undefined)(
    "frames from a packet socket reach neither the host nor its link (skipped when the host has no other address)",
    async () => {
      const seen: string[] = [];
      const anywhere = await bindUdp("0.0.0.0");
      anywhere.on("message", (_text, from) => seen.push(`udp from ${from.address}`));
      const udpPort = anywhere.address().port;
      const tcpServer = createTcpServer((socket) => seen.push(`tcp from ${socket.remoteAddress}`)).listen(
        udpPort,
        "::",
      );
      await once(tcpServer, "listening");
      const all = probesFor({ ipv4: external ?? "", ipv6: externalIpv6 ?? "fd00:1:2::3", port: udpPort });
      // Without IPv6 of its own, a guest has no address that such a frame could come from.
      const tried = all.filter(
        ([, outcome, frame]) =>
          outcome !== "passes" && (externalIpv6 !== undefined || frame.readUInt16BE(16) !== 0x86dd),
      );
      const { code, stdout, stderr } = await run(debian, {
        ...common(),
        macAddress: "52:54:00:12:34:56",
        onRefused: () => {},
        stdin: tried.map(([, , frame]) => `${frame.subarray(4).toString("hex")}\n`).join(""),
        command: ["python3", "-c", craft],
      });
      anywhere.close();
      tcpServer.close();
      const said = stdout.toString().trim().split("\n");
      const found = tried.map(([name], i) => `${name}: ${said[i]}`);
      const expected = tried.map(
        ([name, outcome]) => `${name}: ${outcome === "refused" ? "refused" : "silence"}`,
      );
      expect({ code, found }, stderr.toString()).toEqual({ code: 0, found: expected });
      expect(seen).toEqual([]);
      expect(tried.length).toBeGreaterThan(externalIpv6 === undefined ? 50 : 100);
    },
  );

  test("the host's loopback is the container's when that is asked for", async () => {
    const command = ["python3", "-c", ask, `host.flamebox.internal:${port}`, `127.0.0.1:${port}`];
    const addHosts = [{ host: "host.flamebox.internal", address: "host-gateway" }];
    const { stdout } = await run(debian, { ...common(), addHosts, egress: { policy: "deny" }, command });
    expect(stdout.toString()).toBe(`host.flamebox.internal:${port} from the host\n127.0.0.1:${port} no\n`);
  });

  test("none means none: loopback only", async () => {
    const command = ["sh", "-c", "ls /sys/class/net; cat /etc/resolv.conf | wc -c"];
    const { code, stdout } = await run(busybox, { ...common(), network: "none", command });
    expect({ code, out: stdout.toString() }).toEqual({ code: 0, out: "lo\n0\n" });
  });
});

const echo = `
import socket, threading
tcp = socket.create_server(("", 7000), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 7000))
def over_udp():
    while True:
        data, who = udp.recvfrom(2048)
        udp.sendto(data.upper(), who)
def count():
    server = socket.create_server(("", 7001))
    while True:
        with server.accept()[0] as connection:
            total = 0
            room = bytearray(1 << 16)
            while got := connection.recv_into(room):
                total += got
            print("counted", total, flush=True)
threading.Thread(target=over_udp, daemon=True).start()
threading.Thread(target=count, daemon=True).start()
print("listening", flush=True)
while True:
    with tcp.accept()[0] as connection:
        while data := connection.recv(65536):
            connection.sendall(data.upper())
`;

describe("published ports", () => {
  let container: RunningContainer;
  const portOf = (protocol: string, at = "127.0.0.1", inside = 7000): number =>
    container.ports.find(
      ({ protocol: own, hostAddress, containerPort }) =>
        own === protocol && hostAddress === at && containerPort === inside,
    )?.hostPort ?? 0;

  beforeAll(async () => {
    // Port 0: the host chooses, and `ports` tells.
    const ports = (["tcp", "udp", "udp"] as const).map((protocol) => ({
      hostPort: 0,
      containerPort: 7000,
      protocol,
    }));
    const overIpv6 = { hostAddress: "::1", hostPort: 0, containerPort: 7000 };
    const publish = [
      ...ports,
      ...(externalIpv6 === undefined ? [] : [{ ...overIpv6, protocol: "tcp" as const }]),
      { ...overIpv6, protocol: "udp" as const },
      { hostPort: 0, containerPort: 7001, protocol: "tcp" as const },
    ];
    container = await start(debian, { ...common(), publish, command: ["python3", "-u", "-c", echo] });
    await once(container.stdout, "data");
  });
  afterAll(async () => {
    await container[Symbol.asyncDispose]();
    const left = await home.leftovers();
    if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
  });

  test("TCP", async () => {
    expect(await askTcp("127.0.0.1", portOf("tcp"), "over tcp")).toBe("OVER TCP");
  });

  test("UDP", async () => {
    expect(await askUdp("127.0.0.1", portOf("udp"), "over udp")).toBe("OVER UDP");
  });

  test.skipIf(externalIpv6 === undefined)(
    "on an IPv6 address, and on that only (skipped when the host has no IPv6)",
    async () => {
      expect(await askTcp("::1", portOf("tcp", "::1"), "over tcp")).toBe("OVER TCP");
      expect(await askUdp("::1", portOf("udp", "::1"), "over udp")).toBe("OVER UDP");
      expect(await refusal("127.0.0.1", portOf("tcp", "::1"))).toBe("ECONNREFUSED");
      expect(await refusal(externalIpv6 ?? "", portOf("tcp", "::1"))).toBe("ECONNREFUSED");
    },
  );

  test("40 MB to the guest, which stood still when passt had lost some of it", async () => {
    const said: string[] = [];
    container.stdout.on("data", (chunk: Buffer) => said.push(chunk.toString()));
    const socket = connect({
      port: portOf("tcp", "127.0.0.1", 7001),
      host: "127.0.0.1",
      allowHalfOpen: true,
    });
    socket.resume();
    const block = Buffer.alloc(1 << 20);
    for (let i = 0; i < 40; i++) if (!socket.write(block)) await once(socket, "drain");
    socket.end();
    const expected = `counted ${40 * block.length}\n`;
    for (const until = Date.now() + 120_000; !said.join("").includes(expected) && Date.now() < until; )
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(said.join("")).toContain(expected);
    socket.destroy();
  });

  test.skipIf(external === undefined)(
    "on loopback only (skipped when the host has no other address)",
    async () => {
      expect(await refusal(external ?? "", portOf("tcp"))).toBe("ECONNREFUSED");
    },
  );

  test("UDP clients get their own answers, at the published port and at another of the same", async () => {
    const texts = Array.from({ length: 20 }, (_, i) => `client ${i}`);
    const ports = container.ports.filter(
      ({ protocol, hostAddress }) => protocol === "udp" && hostAddress === "127.0.0.1",
    );
    expect(ports.length).toBe(2);
    const answers = await Promise.all(
      texts.map(async (text, i) => await askUdp("127.0.0.1", ports[i % 2]?.hostPort ?? 0, text)),
    );
    expect(answers).toEqual(texts.map((text) => text.toUpperCase()));
  });

  test("a UDP port that somebody has is an error, too", async () => {
    const publish = [{ hostPort: portOf("udp"), containerPort: 80, protocol: "udp" as const }];
    await expect(run(busybox, { ...common(), publish, command: ["true"] })).rejects.toMatchObject({
      code: "port-in-use",
    });
  });

  test("a port that somebody has is an error that names it", async () => {
    const publish = [{ hostPort: port, containerPort: 80, protocol: "tcp" as const }];
    await expect(run(busybox, { ...common(), publish, command: ["true"] })).rejects.toMatchObject({
      message: expect.stringContaining(String(port)) as string,
    });
  });
});
