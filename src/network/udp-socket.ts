/** UDP sockets for publishing: bound to one address and port that nobody else has, without name lookups. */
import type { Socket, SocketOptions } from "node:dgram";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIP } from "node:net";

/** Node asks for names through a queue even when it is given an address; here there are only addresses. */
const literal: NonNullable<SocketOptions["lookup"]> = (address, _options, callback) =>
  callback(null, address, isIP(address));

/** @param family of the addresses that it will be bound to, and send to */
export function makeUdpSocket(family: 4 | 6 = 4): Socket {
  // `::` takes only IPv6's datagrams: an address asked for is that address.
  if (family === 6) return createSocket({ type: "udp6", ipv6Only: true, lookup: literal });
  return createSocket({ type: "udp4", lookup: literal });
}

/** Port 0 is any free one. Errors are the system's: `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`. */
export async function bindUdpSocket(address: string, port: number): Promise<Socket> {
  const socket = makeUdpSocket(isIP(address) === 6 ? 6 : 4);
  try {
    const bound = once(socket, "listening");
    socket.bind({ address, port, exclusive: true });
    await bound;
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

export async function closeUdpSocket(socket: Socket): Promise<void> {
  const closed = once(socket, "close");
  socket.close();
  await closed;
}
