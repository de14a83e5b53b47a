/**
 * Host ports for publishing: free ones are found, taken ones are refused before anything is started.
 *
 * A TCP port is bound for a moment and let go: the network program binds it again right after. Somebody else
 * may take it in between; the program then fails, and says so. A UDP port stays bound, as it is served from
 * here (udp-relay.ts).
 */
import type { Socket } from "node:dgram";
import { once } from "node:events";
import { createServer, isIP } from "node:net";
import { CleanupStack } from "../util/cleanup.ts";
import { messageOf, systemCode } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import type { PortForward } from "./network.ts";
import { NetworkError } from "./network.ts";
import { bindUdpSocket, closeUdpSocket } from "./udp-socket.ts";

const ANY_ADDRESS = "0.0.0.0";

/** A published UDP port, bound, and the port where the network program shall take its datagrams. */
export interface UdpListener {
  readonly forward: PortForward;
  /** The caller owns it. */
  readonly socket: Socket;
  /** The same for the same container port: the network program keeps one way back for each. */
  readonly targetPort: number;
}

export interface ReservedPorts {
  /** What was asked, in that order, with a real host port where 0 was asked. */
  readonly ports: readonly PortForward[];
  /** The UDP ones among them, in that order. */
  readonly udp: readonly UdpListener[];
}

/** @throws NetworkError `invalid-port`, `port-in-use`, `port-not-permitted` */
export async function reservePorts(forwards: readonly PortForward[]): Promise<ReservedPorts> {
  for (const forward of forwards) checkForward(forward);
  // All are held until the last is bound, so that two of them cannot be given one port.
  await using held = new CleanupStack();
  await using kept = new CleanupStack();
  const ports: PortForward[] = [];
  const udp: UdpListener[] = [];
  const targets = new Map<number, number>();
  for (const forward of forwards) {
    const listener = await bind(forward);
    const bound = { ...forward, hostPort: listener.port };
    (listener.socket === undefined ? held : kept).defer(listener.close);
    checkOnce(ports, bound);
    ports.push(bound);
    if (listener.socket === undefined) continue;
    const targetPort = targets.get(forward.containerPort) ?? (await holdTarget(held));
    targets.set(forward.containerPort, targetPort);
    udp.push({ forward: bound, socket: listener.socket, targetPort });
  }
  kept.move();
  return { ports, udp };
}

async function holdTarget(held: CleanupStack): Promise<number> {
  const socket = await bindUdpSocket(ANY_ADDRESS, 0);
  held.defer(async () => await closeUdpSocket(socket));
  return socket.address().port;
}

function checkForward(forward: PortForward): void {
  const { hostAddress, hostPort, containerPort } = forward;
  const isPort = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 65_535;
  if (!isPort(hostPort) || !isPort(containerPort) || containerPort === 0)
    throw new NetworkError("invalid-port", `ports are 1 to 65535: ${hostPort}:${containerPort}`);
  if (isIP(hostAddress) === 0 || hostAddress.includes("%"))
    throw new NetworkError("invalid-port", `${quote(hostAddress)} is not an IP address to publish on`, {
      hint: "write -p 127.0.0.1:8080:80, or -p [::1]:8080:80",
    });
}

/** passt knows a port of TCP by its number alone, whatever the address. */
function checkOnce(ports: readonly PortForward[], { protocol, hostPort, hostAddress }: PortForward): void {
  const other = ports.find((one) => one.protocol === "tcp" && one.hostPort === hostPort);
  if (protocol !== "tcp" || other === undefined) return;
  throw new NetworkError(
    "invalid-port",
    `port ${hostPort} is to be published on ${other.hostAddress} and on ${hostAddress}, and passt takes a port once`,
    { hint: "publish it on one address (0.0.0.0 is all of IPv4), or on two ports" },
  );
}

interface Bound {
  readonly port: number;
  /** Of UDP. */
  readonly socket?: Socket;
  readonly close: () => Promise<void>;
}

async function bind(forward: PortForward): Promise<Bound> {
  const { protocol, hostAddress, hostPort } = forward;
  try {
    if (protocol === "tcp") return await bindTcp(hostAddress, hostPort);
    const socket = await bindUdpSocket(hostAddress, hostPort);
    return { socket, port: socket.address().port, close: async () => await closeUdpSocket(socket) };
  } catch (error) {
    throw explain(forward, error);
  }
}

async function bindTcp(host: string, port: number): Promise<Bound> {
  const server = createServer();
  const listening = once(server, "listening");
  // An address asked for is that address: `::` does not take IPv4's ports, too.
  server.listen({ host, port, exclusive: true, ipv6Only: true });
  await listening;
  const address = server.address();
  const close = async (): Promise<void> => {
    const closed = once(server, "close");
    server.close();
    await closed;
  };
  return { port: typeof address === "object" && address !== null ? address.port : port, close };
}

function inUse(forward: PortForward, cause?: unknown): NetworkError {
  const { hostAddress, hostPort, protocol } = forward;
  const address = isIP(hostAddress) === 6 ? `[${hostAddress}]` : hostAddress;
  return new NetworkError("port-in-use", `port ${address}:${hostPort}/${protocol} is taken on this host`, {
    hint: "publish another port, or 0 for any free one",
    cause,
  });
}

function explain(forward: PortForward, error: unknown): NetworkError {
  const { hostAddress, hostPort } = forward;
  switch (systemCode(error)) {
    case "EADDRINUSE":
      return inUse(forward, error);
    case "EACCES":
      return new NetworkError("port-not-permitted", `this user may not listen on port ${hostPort}`, {
        hint: "publish a port from 1024 on",
        cause: error,
      });
    case "EADDRNOTAVAIL":
      return new NetworkError("invalid-port", `${hostAddress} is not an address of this host`, {
        cause: error,
      });
    default:
      return new NetworkError(
        "invalid-port",
        `cannot listen on ${hostAddress}:${hostPort}: ${messageOf(error)}`,
        {
          cause: error,
        },
      );
  }
}
