/**
 * Published UDP ports: a relay between a port of the host and passt.
 *
 *     client ─► listener ADDRESS:PORT ─► the client's own socket ─► 127.0.0.1:TARGET (passt) ─► guest
 *            ◄─                       ◄─  on an outward address  ◄─  that address:TARGET
 *
 * passt shows the guest a datagram from the host's loopback as one from the gateway, and with --no-map-gw it
 * does not send the answer back there. A datagram from any other address of the host keeps that address, and
 * the answer comes back to it. So each client gets a socket on such an address, which listens to passt alone.
 * docs/decisions/0006-published-udp-is-relayed.md
 *
 * Like UDP itself, this loses datagrams rather than keep them: hardly anything waits but in the kernel's buffers.
 */
import type { RemoteInfo, Socket } from "node:dgram";
import { outwardAddresses } from "./host-address.ts";
import { closeUdpSocket, makeUdpSocket } from "./udp-socket.ts";

const MAX_CLIENTS = 1_024;
const IDLE_MS = 60_000;
const SWEEPS_PER_IDLE_TIME = 6;
/** What Node may keep when the kernel's buffer is full; beyond it, datagrams are dropped. */
const MAX_QUEUED_BYTES = 128 * 1024;
const TARGET_ADDRESS = "127.0.0.1";

export interface UdpRoute {
  /** Bound; the relay owns it from the call on. */
  readonly listener: Socket;
  /** Of 127.0.0.1, and of no address that other hosts reach. Answers come from this port of the source address. */
  readonly targetPort: number;
}

export interface UdpRelayOptions {
  /** Over all routes. When one more comes, the one that was silent longest is forgotten. */
  readonly maxClients?: number | undefined;
  /** How long a client may be silent, in both directions, before its socket is closed. */
  readonly idleMs?: number | undefined;
  /** A clock in milliseconds that never goes back. */
  readonly now?: (() => number) | undefined;
  /** The address that clients' datagrams come from; asked for each new client, as a host's addresses change. */
  readonly sourceAddress?: (() => string | undefined) | undefined;
}

export class UdpRelay implements AsyncDisposable {
  readonly #listeners: readonly Socket[];
  /** The one that was silent longest comes first. */
  readonly #clients = new Map<string, Client>();
  readonly #maxClients: number;
  readonly #idleMs: number;
  readonly #now: () => number;
  readonly #sourceAddress: () => string | undefined;
  readonly #sweeper: NodeJS.Timeout;
  #disposed = false;

  constructor(routes: readonly UdpRoute[], options: UdpRelayOptions = {}) {
    this.#maxClients = options.maxClients ?? MAX_CLIENTS;
    this.#idleMs = options.idleMs ?? IDLE_MS;
    this.#now = options.now ?? (() => performance.now());
    this.#sourceAddress = options.sourceAddress ?? (() => outwardAddresses()[0]?.address);
    this.#listeners = routes.map(({ listener }) => listener);
    for (const [index, route] of routes.entries()) this.#listen(index, route);
    this.#sweeper = setInterval(() => this.sweep(), this.#idleMs / SWEEPS_PER_IDLE_TIME);
    this.#sweeper.unref();
  }

  /** How many clients have a socket now. */
  get clientCount(): number {
    return this.#clients.size;
  }

  #listen(index: number, route: UdpRoute): void {
    // Whether a process lives on is not for its published ports to decide.
    route.listener.unref();
    // A socket that is bound has no errors but those of single datagrams, which are lost then.
    route.listener.on("error", () => {});
    route.listener.on("message", (datagram, from) => this.#forward(`${index} `, route, datagram, from));
  }

  #forward(prefix: string, route: UdpRoute, datagram: Buffer, from: RemoteInfo): void {
    // A forged source port of 0: nobody is there to be answered, and Node throws when it is sent to.
    if (this.#disposed || from.port === 0) return;
    const key = `${prefix}${from.address}:${from.port}`;
    const client = this.#clients.get(key) ?? this.#admit(key, route, from);
    if (client === undefined) return;
    this.#touch(key, client);
    client.send(datagram);
  }

  #admit(key: string, { listener, targetPort }: UdpRoute, from: RemoteInfo): Client | undefined {
    const source = this.#sourceAddress();
    if (source === undefined) return undefined;
    const [oldest] = this.#clients;
    if (oldest !== undefined && this.#clients.size >= this.#maxClients) this.#forget(...oldest);
    const client = new Client();
    client.open({
      source,
      targetPort,
      onAnswer: (datagram) => {
        if (client.closed) return;
        this.#touch(key, client);
        if (listener.getSendQueueSize() < MAX_QUEUED_BYTES)
          listener.send(datagram, from.port, from.address, () => {});
      },
      onBroken: () => this.#forget(key, client),
    });
    return client;
  }

  #touch(key: string, client: Client): void {
    if (client.closed) return;
    client.lastUsedMs = this.#now();
    this.#clients.delete(key);
    this.#clients.set(key, client);
  }

  #forget(key: string, client: Client): void {
    if (this.#clients.get(key) === client) this.#clients.delete(key);
    client.close();
  }

  /** Closes what has been silent too long. Called by a timer. */
  sweep(): void {
    const oldest = this.#now() - this.#idleMs;
    for (const [key, client] of this.#clients) {
      if (client.lastUsedMs > oldest) return;
      this.#forget(key, client);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    clearInterval(this.#sweeper);
    for (const [key, client] of this.#clients) this.#forget(key, client);
    await Promise.all(this.#listeners.map(async (listener) => await closeUdpSocket(listener)));
  }
}

interface ClientOptions {
  readonly source: string;
  readonly targetPort: number;
  readonly onAnswer: (datagram: Buffer) => void;
  readonly onBroken: () => void;
}

/** One client's own socket towards passt. */
class Client {
  lastUsedMs = 0;
  readonly #socket = makeUdpSocket();
  #targetPort = 0;
  #onBroken = (): void => {};
  #closed = false;

  get closed(): boolean {
    return this.#closed;
  }

  open({ source, targetPort, onAnswer, onBroken }: ClientOptions): void {
    this.#targetPort = targetPort;
    this.#onBroken = onBroken;
    this.#socket.on("error", () => this.#onBroken());
    this.#socket.on("message", (datagram, from) => {
      // Not connected, as passt takes datagrams at one address and answers from another. The kernel drops what
      // comes from outside with this host's address, and nobody else has that port of it while passt has it.
      if (from.port === targetPort && from.address === source) onAnswer(datagram);
    });
    this.#socket.bind({ address: source, port: 0, exclusive: true });
    this.#socket.unref();
  }

  /** Node itself keeps what is sent before the socket is bound, which takes no longer than this turn. */
  send(datagram: Buffer): void {
    if (this.#closed || this.#socket.getSendQueueSize() >= MAX_QUEUED_BYTES) return;
    this.#socket.send(datagram, this.#targetPort, TARGET_ADDRESS, (error) => {
      // The address is perhaps no longer this host's. The client's next datagram makes a new socket.
      if (error !== null && !this.#closed) this.#onBroken();
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }
}
