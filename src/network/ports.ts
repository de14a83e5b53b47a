/** Host ports for publishing: free ones are found, taken ones are refused before anything is started. */
import { createSocket } from "node:dgram";
import { createServer, isIP } from "node:net";
import { messageOf, systemCode } from "../util/error.ts";
import type { PortForward } from "./network.ts";
import { NetworkError } from "./network.ts";

/**
 * The same forwards with a real host port where 0 was asked.
 *
 * Each port is bound for a moment and let go: the network program binds it again right after. Somebody else
 * may take it in between; the program then fails, and says so.
 * @throws NetworkError `invalid-port`, `port-in-use`, `port-not-permitted`
 */
export async function reservePorts(forwards: readonly PortForward[]): Promise<PortForward[]> {
  const seen = new Set<string>();
  const result: PortForward[] = [];
  for (const forward of forwards) {
    checkForward(forward);
    const key = `${forward.hostAddress} ${forward.hostPort} ${forward.protocol}`;
    if (forward.hostPort !== 0 && seen.has(key)) throw inUse(forward);
    seen.add(key);
    const bind = forward.protocol === "tcp" ? bindTcp : bindUdp;
    try {
      result.push({ ...forward, hostPort: await bind(forward.hostAddress, forward.hostPort) });
    } catch (error) {
      throw explain(forward, error);
    }
  }
  return result;
}

function checkForward(forward: PortForward): void {
  const { hostAddress, hostPort, containerPort } = forward;
  const isPort = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 65_535;
  if (!isPort(hostPort) || !isPort(containerPort) || containerPort === 0)
    throw new NetworkError("invalid-port", `ports are 1 to 65535: ${hostPort}:${containerPort}`);
  if (isIP(hostAddress) !== 4)
    throw new NetworkError(
      "invalid-port",
      `${JSON.stringify(hostAddress)} is not an IPv4 address to publish on`,
      {
        hint: "write -p 127.0.0.1:8080:80",
      },
    );
}

async function bindTcp(host: string, port: number): Promise<number> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      const bound = typeof address === "object" && address !== null ? address.port : port;
      server.close(() => resolve(bound));
    });
  });
}

async function bindUdp(address: string, port: number): Promise<number> {
  const socket = createSocket("udp4");
  return await new Promise((resolve, reject) => {
    socket.once("error", (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address, port, exclusive: true }, () => {
      const bound = socket.address().port;
      socket.close(() => resolve(bound));
    });
  });
}

function inUse(forward: PortForward, cause?: unknown): NetworkError {
  const { hostAddress, hostPort, protocol } = forward;
  return new NetworkError(
    "port-in-use",
    `port ${hostAddress}:${hostPort}/${protocol} is taken on this host`,
    {
      hint: "publish another port, or 0 for any free one",
      cause,
    },
  );
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
