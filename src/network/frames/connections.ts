/**
 * What passt's connections to the guest need so that they do not stand still.
 *
 * passt writes to its socket what the guest's window allows, all at once, and loses what the socket does not take: it
 * counts that as sent, and often hears nothing that would tell it otherwise before its timer of two seconds. A window is
 * megabytes, a socket pair holds four frames of 64 KiB, more where the host lets it (passt.ts). (passt of 2023-03; docs/decisions/0018.) Two things help:
 *
 * - passt is told of no larger window than the socket holds. The guest is a fraction of a millisecond away, so that is
 *   enough for any speed; what a far client may send is passt's own window's business.
 * - The last acknowledgement of a connection on which passt has been silent since is said again, a few times: by TCP's
 *   own rules that asks for what is missing, and where nothing is, it means nothing.
 */
import type { Address } from "../address.ts";
import { replaceWindow } from "../packet/build.ts";
import type { Packet } from "../packet/packet.ts";
import { PROTOCOL, TCP_FLAG } from "../packet/packet.ts";

const MAX_CONNECTIONS = 4_096;
/** An acknowledgement with all its options. */
const MAX_FRAME_BYTES = 160;
const LENGTH_BYTES = 4;
const TICK_MS = 100;
const FIRST_MS = 200;
/** Each waits twice as long as the one before: 200 ms, 400 ms, … */
const MAX_NUDGES = 7;

interface Connection {
  /** By which the guest's windows are shifted; undefined when its first segment was not seen. */
  scale: number | undefined;
  /** The guest's last acknowledgement, if it spoke last, with its length in front. */
  frame: Buffer | undefined;
  sizeBytes: number;
  sinceMs: number;
  nudges: number;
  /** Whether the passt that there is has never heard of it. */
  isLost: boolean;
}

export class Connections implements Disposable {
  readonly #maxWindowBytes: number;
  readonly #send: (frame: Buffer) => void;
  readonly #now: () => number;
  /** By the far address, and both ports. The oldest address first. */
  readonly #known = new Map<Address, Map<number, Connection>>();
  readonly #waiting = new Set<Connection>();
  #count = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param maxWindowBytes what passt's socket holds */
  constructor(
    maxWindowBytes: number,
    send: (frame: Buffer) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#maxWindowBytes = maxWindowBytes;
    this.#send = send;
    this.#now = now;
  }

  get size(): number {
    return this.#count;
  }

  /**
   * The guest says something to passt; it may be changed here.
   * @returns false for what belongs to a connection that only a former passt knew
   */
  guestSaid(packet: Packet): boolean {
    const { protocol, tcpFlags, destination, sourcePort, destinationPort } = packet;
    if (protocol !== PROTOCOL.tcp) return true;
    const key = sourcePort * 65_536 + destinationPort;
    const known = this.#known.get(destination)?.get(key);
    const begins = (tcpFlags & TCP_FLAG.syn) !== 0;
    if ((tcpFlags & TCP_FLAG.rst) !== 0) {
      this.#forget(destination, key);
      return true;
    }
    // It stays known until the guest has given it up: what is said to that effect may be lost.
    if (known?.isLost === true && !begins) return false;
    const connection = known ?? this.#add(destination, key);
    connection.isLost = false;
    // The scale is said in the first segment, whose own window is not scaled.
    if (begins) connection.scale = scaleOf(packet);
    else if (connection.scale !== undefined) clamp(packet, connection.scale, this.#maxWindowBytes);
    this.#keep(packet, connection);
    return true;
  }

  /** There is another passt from now on. @returns the guest's last words in connections of before, where they are kept */
  forgetPasst(): Buffer[] {
    this.#waiting.clear();
    const connections = [...this.#known.values()].flatMap((ports) => [...ports.values()]);
    return connections.flatMap((connection) => {
      connection.isLost = true;
      const { frame, sizeBytes } = connection;
      return frame === undefined ? [] : [Buffer.from(frame.subarray(0, sizeBytes))];
    });
  }

  /** passt says something to the guest. */
  passtSaid({ protocol, source, sourcePort, destinationPort }: Packet): void {
    if (protocol !== PROTOCOL.tcp || this.#waiting.size === 0) return;
    const connection = this.#known.get(source)?.get(destinationPort * 65_536 + sourcePort);
    if (connection !== undefined) this.#waiting.delete(connection);
  }

  /** A segment with data is sent again by the guest itself. */
  #keep({ tcpFlags, payloadAt, endAt, data, at, frameBytes }: Packet, connection: Connection): void {
    const isAcknowledgement = (tcpFlags & 0x3f) === TCP_FLAG.ack && payloadAt === endAt;
    if (!isAcknowledgement || frameBytes > MAX_FRAME_BYTES || at + frameBytes > data.length) {
      this.#waiting.delete(connection);
      return;
    }
    connection.frame ??= Buffer.alloc(LENGTH_BYTES + MAX_FRAME_BYTES);
    data.copy(connection.frame, 0, at - LENGTH_BYTES, at + frameBytes);
    connection.sizeBytes = LENGTH_BYTES + frameBytes;
    connection.sinceMs = this.#now();
    connection.nudges = 0;
    this.#waiting.add(connection);
    this.#timer ??= setInterval(() => this.tick(), TICK_MS).unref();
  }

  #add(address: Address, key: number): Connection {
    const connection = {
      scale: undefined,
      frame: undefined,
      sizeBytes: 0,
      sinceMs: 0,
      nudges: 0,
      isLost: false,
    };
    while (this.#count >= MAX_CONNECTIONS) this.#forgetOldest();
    let ports = this.#known.get(address);
    if (ports === undefined) this.#known.set(address, (ports = new Map()));
    ports.set(key, connection);
    this.#count++;
    return connection;
  }

  #forgetOldest(): void {
    const [oldest] = this.#known;
    const [key] = oldest?.[1].keys() ?? [];
    if (oldest !== undefined && key !== undefined) this.#forget(oldest[0], key);
  }

  #forget(address: Address, key: number): void {
    const ports = this.#known.get(address);
    const connection = ports?.get(key);
    if (ports === undefined || connection === undefined) return;
    this.#waiting.delete(connection);
    ports.delete(key);
    this.#count--;
    if (ports.size === 0) this.#known.delete(address);
  }

  /** Called by a timer. */
  tick(): void {
    const now = this.#now();
    for (const connection of this.#waiting) {
      if (now - connection.sinceMs < FIRST_MS * 2 ** connection.nudges) continue;
      const { frame, sizeBytes } = connection;
      // What it was sent before may still be in the socket's buffer, so it is a copy that goes.
      if (frame !== undefined) this.#send(Buffer.from(frame.subarray(0, sizeBytes)));
      connection.nudges++;
      connection.sinceMs = now;
      if (connection.nudges >= MAX_NUDGES) this.#waiting.delete(connection);
    }
    if (this.#waiting.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#waiting.clear();
  }
}

/** https://www.rfc-editor.org/rfc/rfc7323#section-2.2; 0 without the option */
function scaleOf({ data, at, transportAt, payloadAt }: Packet): number {
  const end = Math.min(at + payloadAt, data.length);
  for (let option = at + transportAt + 20; option < end; ) {
    const kind = data[option] ?? 0;
    if (kind === 0) break;
    const size = kind === 1 ? 1 : (data[option + 1] ?? 0);
    if (kind === 3 && size === 3 && option + 2 < end) return Math.min(14, data[option + 2] ?? 0);
    if (size < 1 || (size < 2 && kind !== 1)) break;
    option += size;
  }
  return 0;
}

function clamp(packet: Packet, scale: number, maxWindowBytes: number): void {
  const window = packet.data.readUInt16BE(packet.at + packet.transportAt + 14);
  const most = Math.max(1, maxWindowBytes >> scale);
  if (window > most) replaceWindow(packet, most);
}
