/** The host's half of the network contracts: its addresses, servers on it, and clients that ask from it. */
import { createSocket } from "node:dgram";
import type { Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { systemCode } from "../../src/util/error.ts";

/** An address of this host's that a container may reach, and one that only its neighbours on the cable should. */
function hostAddress(isLinkLocal: boolean): string | undefined {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const fits = (address: string): boolean => address.startsWith("169.254.") === isLinkLocal;
  return addresses.find(({ family, internal, address }) => family === "IPv4" && !internal && fits(address))
    ?.address;
}
export const external = hostAddress(false);
export const linkLocal = hostAddress(true);

const ANSWER_MS = 60_000;

export async function bindUdp(address: string, port = 0): Promise<DatagramSocket> {
  const socket = createSocket("udp4");
  socket.bind(port, address);
  await once(socket, "listening");
  return socket;
}

/** A name server of one answer: the question comes back with an IPv4 address behind it. */
export async function nameServer(
  answerAddress: string,
  address = "0.0.0.0",
  port = 0,
): Promise<DatagramSocket> {
  const names = await bindUdp(address, port);
  names.on("message", (question, from) => {
    const head = Buffer.from("81800001000100000000", "hex");
    const answer = Buffer.concat([
      Buffer.from("c00c000100010000000a0004", "hex"),
      Buffer.from(answerAddress.split(".").map(Number)),
    ]);
    const end = question.indexOf(0, 12) + 5;
    const parts = [question.subarray(0, 2), head, question.subarray(12, end), answer];
    names.send(Buffer.concat(parts), from.port, from.address);
  });
  return names;
}

export async function askTcp(host: string, hostPort: number, words: string): Promise<string> {
  const socket = connect(hostPort, host).setTimeout(ANSWER_MS, () => socket.destroy(new Error("no answer")));
  socket.end(words);
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

export async function refusal(host: string, hostPort: number): Promise<string> {
  return await askTcp(host, hostPort, "x").catch((error: unknown) => systemCode(error) ?? String(error));
}

/** A datagram may be lost, so it is sent until there is an answer. */
export async function askUdp(host: string, hostPort: number, words: string): Promise<string> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
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

/** An HTTP server on every address, so that only what the guest can reach decides. */
export async function webServer(words: string, address = "0.0.0.0"): Promise<WebServer> {
  const server = createServer((_request, response) => response.end(`${words}\n`)).listen(0, address);
  await once(server, "listening");
  const bound = server.address();
  const port = bound !== null && typeof bound === "object" ? bound.port : 0;
  return { port, close: () => closeServer(server) };
}

export interface WebServer {
  readonly port: number;
  readonly close: () => void;
}

function closeServer(server: Server): void {
  server.closeAllConnections();
  server.close();
}

/**
 * What a shell says of PLACE:PORT: the answer of a server there, or "no". passt gives up on a guest that is too slow, as an
 * emulated one is at times: what can be reached is asked again.
 */
export function asking(place: string, isReachable: boolean): string {
  const tries = isReachable ? 4 : 1;
  return `for n in $(seq ${tries}); do timeout 30 wget -q -O - http://${place}/ 2>/dev/null && exit; done; echo no`;
}
