/** What a container reaches and who reaches it, through the library's own built package. */
import { createSocket } from "node:dgram";
import type { Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { run, start } from "flamebox";
import type { RunningContainer } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { systemCode } from "../../src/util/error.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const debian = `${inject("registry")}/flamebox/debian:12`;
const external = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.family === "IPv4" && !one.internal)?.address;

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

/** Prints a line for each address of argv: the answer of an HTTP server at PORT, or "no". */
const ask = `
import sys, urllib.request
for place in sys.argv[2:]:
    try:
        with urllib.request.urlopen(f"http://{place}:{sys.argv[1]}/", timeout=5) as answer:
            print(place, answer.read().decode().strip())
    except OSError:
        print(place, "no")
`;

/** Asks the name server ADDRESS PORT for a name, in DNS's own bytes. */
const askName = `
import socket, sys
question = bytes.fromhex("abcd01000001000000000000") + b"\\x03box\\x04test\\0" + bytes.fromhex("00010001")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(2)
    for attempt in range(5):
        asking.sendto(question, (sys.argv[1], int(sys.argv[2])))
        try:
            answer = asking.recv(512)
            break
        except TimeoutError:
            pass
    assert answer[:2] == question[:2]
    print(socket.inet_ntoa(answer[-4:]))
`;

/** Writes whole frames, past the guest's own routing: one datagram to each PORT of each address. */
const craft = `
import fcntl, socket, struct, sys, time
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
wire.bind(("eth0", 0))
mac = wire.getsockname()[4]
for place in sys.argv[2:]:
    for port in sys.argv[1].split(","):
        text = f"to {place}".encode()
        udp = struct.pack("!HHHH", 4000, int(port), 8 + len(text), 0) + text
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                           socket.inet_aton("10.0.2.15"), socket.inet_aton(place))
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        wire.send(b"\\xff" * 6 + mac + struct.pack("!H", 0x0800) + head + udp)
        time.sleep(0.1)
time.sleep(0.5)
`;

async function bindUdp(address: string): Promise<DatagramSocket> {
  const socket = createSocket("udp4");
  socket.bind(0, address);
  await once(socket, "listening");
  return socket;
}

describe("outbound", () => {
  // One machine for both: that something is out of reach shows only beside something that is not.
  test("TCP gets out, and the host's loopback is out of reach by every name for it", async () => {
    const places = ["127.0.0.1", "localhost", "10.0.2.2", ...(external === undefined ? [] : [external])];
    const command = ["python3", "-c", ask, String(port), ...places];
    const { code, stdout, stderr } = await run(debian, { ...common(), command });
    const expected = places.map((place) => `${place} ${place === external ? "from the host" : "no"}\n`);
    expect({ code, out: stdout.toString() }, stderr.toString()).toEqual({ code: 0, out: expected.join("") });
  });

  test.skipIf(external === undefined)(
    "UDP and names get out (skipped when the host has no address to answer at)",
    async () => {
      // A name server of one answer: the question comes back as the answer, with 192.0.2.77 behind it.
      const names = await bindUdp("0.0.0.0");
      names.on("message", (question, from) => {
        const head = Buffer.from("81800001000100000000", "hex");
        const answer = Buffer.from("c00c000100010000000a0004c000024d", "hex");
        const end = question.indexOf(0, 12) + 5;
        const parts = [question.subarray(0, 2), head, question.subarray(12, end), answer];
        names.send(Buffer.concat(parts), from.port, from.address);
      });
      const command = ["python3", "-c", askName, external ?? "", String(names.address().port)];
      const { code, stdout, stderr } = await run(debian, { ...common(), command });
      names.close();
      expect({ code, out: stdout.toString() }, stderr.toString()).toEqual({ code: 0, out: "192.0.2.77\n" });
    },
  );

  test.skipIf(external === undefined)(
    "frames that name the host's loopback do not reach it (skipped when the host has no other address)",
    async () => {
      const sockets = [await bindUdp("127.0.0.1"), await bindUdp("0.0.0.0")];
      const seen: string[] = [];
      for (const socket of sockets)
        socket.on("message", (text, from) => seen.push(`${text.toString()} from ${from.address}`));
      const ports = sockets.map((socket) => String(socket.address().port));
      const places = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "10.0.2.2", external ?? ""];
      const command = ["python3", "-c", craft, ports.join(","), ...places];
      const { code, stderr } = await run(debian, { ...common(), command });
      for (const socket of sockets) socket.close();
      // The last shows that such a frame arrives where it may.
      expect({ code, seen }, stderr.toString()).toEqual({
        code: 0,
        seen: [`to ${external ?? ""} from ${external ?? ""}`],
      });
    },
  );

  test("none means none: loopback only", async () => {
    const command = ["sh", "-c", "ls /sys/class/net; cat /etc/resolv.conf | wc -c"];
    const { code, stdout } = await run(busybox, { ...common(), network: "none", command });
    expect({ code, out: stdout.toString() }).toEqual({ code: 0, out: "lo\n0\n" });
  });
});

const echo = `
import socket, threading
tcp = socket.create_server(("", 7000))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 7000))
def over_udp():
    while True:
        data, who = udp.recvfrom(2048)
        udp.sendto(data.upper(), who)
threading.Thread(target=over_udp, daemon=True).start()
print("listening", flush=True)
while True:
    with tcp.accept()[0] as connection:
        while data := connection.recv(65536):
            connection.sendall(data.upper())
`;

const ANSWER_MS = 20_000;

async function askTcp(host: string, hostPort: number, text: string): Promise<string> {
  const socket = connect(hostPort, host).setTimeout(ANSWER_MS, () => socket.destroy(new Error("no answer")));
  socket.end(text);
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

async function refusal(host: string, hostPort: number): Promise<string> {
  return await askTcp(host, hostPort, "x").catch((error: unknown) => systemCode(error) ?? String(error));
}

/** A datagram may be lost, so it is sent until there is an answer. */
async function askUdp(host: string, hostPort: number, text: string): Promise<string> {
  const socket = createSocket("udp4");
  socket.send(text, hostPort, host);
  const sending = setInterval(() => socket.send(text, hostPort, host), 500);
  try {
    const [message] = (await once(socket, "message", { signal: AbortSignal.timeout(ANSWER_MS) })) as [Buffer];
    return message.toString();
  } finally {
    clearInterval(sending);
    socket.close();
  }
}

describe("published ports", () => {
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

  test.skipIf(external === undefined)(
    "on loopback only (skipped when the host has no other address)",
    async () => {
      expect(await refusal(external ?? "", portOf("tcp"))).toBe("ECONNREFUSED");
    },
  );

  test("UDP clients get their own answers, at the published port and at another of the same", async () => {
    const texts = Array.from({ length: 20 }, (_, i) => `client ${i}`);
    const ports = container.ports.filter(({ protocol }) => protocol === "udp");
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
