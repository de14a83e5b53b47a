/**
 * What was refused, told to somebody: each destination once in a while, and so many a minute, as a guest can try
 * without end. What is left out is counted, and the count told.
 */
import type { Transport } from "./rules.ts";

/** Something that a container wanted and was refused. */
export interface Refusal {
  readonly protocol: Transport | "other" | "dns";
  /** Empty for a name that was asked for. */
  readonly address: string;
  /** 0 where there is none. */
  readonly port: number;
  /** What DNS called the address, or what was asked for. */
  readonly names: readonly string[];
  readonly reason: string;
  /** So many before it were not told. */
  readonly untold: number;
}

/** What is refused, time after time: each of those who are told makes of it what it needs. */
export interface RefusalSink {
  /** @param describe asked only when it is wanted */
  add(key: string, describe: () => Omit<Refusal, "untold">): void;
}

const MAX_A_MINUTE = 20;
const MINUTE_MS = 60_000;
const MAX_KNOWN = 1_024;
const SAME_AGAIN_MS = 600_000;

export class Refusals implements RefusalSink {
  readonly #told = new Map<string, number>();
  readonly #tell: (refusal: Refusal) => void;
  readonly #now: () => number;
  #windowMs = Number.NEGATIVE_INFINITY;
  #inWindow = 0;
  #untold = 0;

  constructor(tell: (refusal: Refusal) => void, now: () => number = () => performance.now()) {
    this.#tell = tell;
    this.#now = now;
  }

  /** @param describe asked only when it will be told */
  add(key: string, describe: () => Omit<Refusal, "untold">): void {
    const now = this.#now();
    const last = this.#told.get(key);
    if (last !== undefined && now - last < SAME_AGAIN_MS) return;
    if (now - this.#windowMs >= MINUTE_MS) {
      this.#windowMs = now;
      this.#inWindow = 0;
    }
    if (this.#inWindow >= MAX_A_MINUTE) {
      this.#untold++;
      return;
    }
    this.#inWindow++;
    this.#told.delete(key);
    const [oldest] = this.#told.keys();
    if (oldest !== undefined && this.#told.size >= MAX_KNOWN) this.#told.delete(oldest);
    this.#told.set(key, now);
    const untold = this.#untold;
    this.#untold = 0;
    this.#tell({ ...describe(), untold });
  }
}

/** Each is told of all. */
export function bothSinks(first: RefusalSink, second: RefusalSink | undefined): RefusalSink {
  if (second === undefined) return first;
  return {
    add: (key, describe) => {
      first.add(key, describe);
      second.add(key, describe);
    },
  };
}

/** `refused: tcp 192.0.2.7:443 (example.com): no rule allows it` */
export function describeRefusal({ protocol, address, port, names, reason, untold }: Refusal): string {
  const place = address.includes(":") && port > 0 ? `[${address}]` : address;
  const where = `${place}${port > 0 ? `:${port}` : ""}`;
  const called = names.length === 0 ? "" : address === "" ? names.join(", ") : ` (${names.join(", ")})`;
  const more = untold === 0 ? "" : `; ${untold} others before it`;
  return `refused: ${protocol} ${where}${called}: ${reason}${more}`;
}
