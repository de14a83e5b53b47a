/**
 * The host asks its own name servers for a guest: those on its loopback, which no guest reaches, and whoever else is
 * in resolv.conf. One socket a question, so that an answer from elsewhere is none.
 */
import type { Socket } from "node:dgram";
import { createSocket } from "node:dgram";
import { isIP } from "node:net";
import type { Responder } from "../frames/path.ts";
import { makeReply, RCODE, readMessage } from "./message.ts";

/** A guest that asks more at once has to ask again. */
const MAX_WAITING = 128;
/** Resolvers ask again after five seconds; the next server has to have had its turn by then. */
const TIMEOUT_MS = 2_000;
const DNS_PORT = 53;

export class DnsForwarder implements Responder {
  readonly #servers: readonly string[];
  readonly #port: number;
  readonly #sockets = new Set<Socket>();

  /** @param port for tests */
  constructor(servers: readonly string[], port = DNS_PORT) {
    this.#servers = servers;
    this.#port = port;
  }

  ask(query: Buffer, reply: (answer: Buffer) => void): void {
    const message = readMessage(query);
    if (message === undefined || message.isAnswer || this.#sockets.size >= MAX_WAITING) return;
    const failed = (): void => reply(makeReply(query, message, RCODE.serverFailure));
    this.#askServer(0, query, message.id, reply, failed);
  }

  #askServer(
    index: number,
    query: Buffer,
    id: number,
    reply: (answer: Buffer) => void,
    failed: () => void,
  ): void {
    const server = this.#servers[index];
    if (server === undefined) return failed();
    const socket = createSocket(isIP(server) === 6 ? "udp6" : "udp4");
    this.#sockets.add(socket);
    socket.unref();
    let over = false;
    const end = (answer: Buffer | undefined): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      this.#sockets.delete(socket);
      socket.close();
      if (answer !== undefined) reply(answer);
      else if (!this.#disposed) this.#askServer(index + 1, query, id, reply, failed);
    };
    const timer = setTimeout(() => end(undefined), TIMEOUT_MS);
    timer.unref();
    socket.on("error", () => end(undefined));
    socket.on("message", (answer) => {
      if (answer.length >= 12 && answer.readUInt16BE(0) === id) end(answer);
    });
    // Connected: the kernel takes answers from there only.
    socket.connect(this.#port, server, (...given: unknown[]) => {
      if (given[0] !== undefined && given[0] !== null) end(undefined);
      else if (!over) socket.send(query, (error) => error !== null && end(undefined));
    });
  }

  #disposed = false;

  dispose(): void {
    this.#disposed = true;
    for (const socket of this.#sockets) socket.close();
    this.#sockets.clear();
  }
}
