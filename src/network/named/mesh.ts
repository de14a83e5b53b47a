/**
 * The containers of a network, joined without a daemon: each container's process listens on a socket, and who comes
 * later connects to those who are there. So there is one connection between any two, and no switch in between.
 *
 *     guest ─ FramePath ─ process A ─── unix socket ─── process B ─ FramePath ─ guest
 *
 *     each begins with   u32 length, JSON (who I am)   and goes on with   u32 length, frame, …
 *
 * The process at the other end is the same user's and is believed. Its frames come from a guest that may be hostile:
 * each is sent only from the guest's own addresses, and is taken only from those of the lease.
 */
import { once } from "node:events";
import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import type { Server, Socket } from "node:net";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import type { Address } from "../address.ts";
import { parseAddress } from "../address.ts";
import type { FramePath, Neighbours } from "../frames/path.ts";
import { isNeighbourhood } from "../frames/reach.ts";
import type { FrameSink } from "../frames/reader.ts";
import { FrameReader } from "../frames/reader.ts";
import { StreamSink } from "../frames/sink.ts";
import { announce } from "../packet/neighbours.ts";
import type { Packet } from "../packet/packet.ts";
import { PROTOCOL } from "../packet/packet.ts";
import type { Member } from "./leases.ts";
import { parseMember } from "./leases.ts";

const MAX_SOCKET_PATH_BYTES = 107;
const MAX_GREETING_BYTES = 32 * 1024;
const GREETING_MS = 10_000;
/** For a member that does not read: a switch would lose its frames, too. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
const MAX_PEERS = 600;

/** A socket's path has to be short; by its directory's descriptor, any is. */
async function withShortPath<T>(dir: string, name: string, use: (path: string) => Promise<T>): Promise<T> {
  const path = join(dir, name);
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return await use(path);
  let handle: FileHandle | undefined;
  try {
    handle = await open(dir, "r");
    return await use(`/proc/self/fd/${handle.fd}/${name}`);
  } finally {
    await handle?.close();
  }
}

interface Peer {
  readonly member: Member;
  readonly mac: Buffer;
  readonly addresses: readonly Address[];
  readonly sink: FrameSink;
}

export class Mesh implements Neighbours, AsyncDisposable {
  readonly #server: Server = createServer((socket) => this.#welcome(socket));
  readonly #sockets = new Set<Socket>();
  readonly #byAddress = new Map<Address, Peer>();
  #self: Member | undefined;
  #ownAddresses: readonly Address[] = [];
  #ownMac: Buffer = Buffer.alloc(6);
  #path: FramePath | undefined;

  /** Others may connect from now on; they wait until `open` says who this is. */
  async listen(dir: string, name: string): Promise<AsyncDisposable> {
    this.#server.maxConnections = MAX_PEERS;
    await withShortPath(dir, name, async (path) => {
      const listening = once(this.#server, "listening");
      this.#server.listen({ path });
      await listening;
    });
    this.#server.unref();
    return this;
  }

  /** Connects to those who were there before. One that has gone meanwhile is none. */
  async open(self: Member, dir: string, names: readonly string[]): Promise<void> {
    this.#self = self;
    this.#ownAddresses = addressesOf(self);
    this.#ownMac = macOf(self);
    for (const socket of this.#sockets) this.#greet(socket);
    await Promise.all(
      names.map(async (name) => {
        await withShortPath(dir, name, async (path) => {
          const socket = connect({ path });
          const connected = once(socket, "connect").catch(() => undefined);
          this.#welcome(socket);
          await connected;
        });
      }),
    );
  }

  /** Where the others' frames go. */
  attach(path: FramePath): void {
    this.#path = path;
  }

  get members(): readonly Member[] {
    const peers = [...new Set(this.#byAddress.values())].map(({ member }) => member);
    return this.#self === undefined ? peers : [this.#self, ...peers];
  }

  macOf(address: Address): Buffer | undefined {
    return this.#byAddress.get(address)?.mac;
  }

  sinkOf(address: Address): FrameSink | undefined {
    return this.#byAddress.get(address)?.sink;
  }

  #welcome(socket: Socket): void {
    this.#sockets.add(socket);
    socket.unref();
    socket.on("error", () => socket.destroy());
    socket.once("close", () => this.#sockets.delete(socket));
    const timer = setTimeout(() => socket.destroy(), GREETING_MS);
    timer.unref();
    let held = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      held = Buffer.concat([held, chunk]);
      const greeting = readGreeting(held);
      if (greeting === "more") return;
      clearTimeout(timer);
      socket.off("data", onData);
      if (greeting === undefined || !this.#admit(socket, greeting.member, held.subarray(greeting.end)))
        socket.destroy();
    };
    socket.on("data", onData);
    if (this.#self !== undefined) this.#greet(socket);
  }

  #greet(socket: Socket): void {
    const text = Buffer.from(JSON.stringify(this.#self));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    socket.write(Buffer.concat([length, text]));
  }

  #admit(socket: Socket, member: Member, rest: Buffer): boolean {
    const addresses = addressesOf(member);
    if (addresses.some((address) => this.#ownAddresses.includes(address))) return false;
    const stream = new StreamSink(socket);
    const mac = macOf(member);
    const sink: FrameSink = { deliver: (pieces) => stream.offer(pieces, MAX_QUEUED_BYTES) };
    const peer: Peer = { member, mac, addresses, sink };
    const toGuest: FrameSink = { deliver: (pieces) => this.#path?.offerToGuest(pieces) };
    const reader = new FrameReader((packet) => (this.#isFrom(peer, packet) ? toGuest : undefined));
    const take = (chunk: Buffer): void => {
      try {
        reader.push(chunk);
      } catch {
        socket.destroy();
      }
    };
    for (const address of addresses) this.#byAddress.set(address, peer);
    socket.once("close", () => {
      for (const address of addresses)
        if (this.#byAddress.get(address) === peer) this.#byAddress.delete(address);
    });
    socket.on("data", take);
    // Whoever had its address before may have had another MAC, which the guest would write to for half a minute.
    toGuest.deliver(announce(mac, addresses));
    if (rest.length > 0) take(rest);
    return true;
  }

  /** From the addresses of its lease, and for this one's. Neighbours are answered for without it. */
  #isFrom(peer: Peer, packet: Packet): boolean {
    const { kind, protocol, icmpType, source, destination, data, at } = packet;
    return (
      kind === "ip" &&
      !(protocol === PROTOCOL.icmpv6 && isNeighbourhood(icmpType)) &&
      peer.addresses.includes(source) &&
      this.#ownAddresses.includes(destination) &&
      packet.sourceMac.equals(peer.mac) &&
      data.subarray(at, at + 6).equals(this.#ownMac)
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    await closed;
  }
}

function macOf({ mac }: Member): Buffer {
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

function addressesOf({ ipv4, ipv6 }: Member): Address[] {
  return [ipv4, ipv6].flatMap((text) => parseAddress(text) ?? []);
}

/** @returns undefined for what is no greeting */
function readGreeting(bytes: Buffer): { readonly member: Member; readonly end: number } | "more" | undefined {
  if (bytes.length < 4) return "more";
  const size = bytes.readUInt32BE(0);
  if (size > MAX_GREETING_BYTES) return undefined;
  if (bytes.length < 4 + size) return "more";
  try {
    const member = parseMember(JSON.parse(bytes.toString("utf8", 4, 4 + size)));
    return member && { member, end: 4 + size };
  } catch {
    return undefined;
  }
}
