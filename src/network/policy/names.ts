/**
 * Which names an address had in the answers that DNS gave: bounded in number and in time. An address that is not here
 * has no name, whatever a guest says of it.
 */
import type { Address } from "../address.ts";

const MAX_ADDRESSES = 4_096;
const MAX_NAMES = 8;
/** Programs keep an answer for a while before they use it. */
const LEAST_MS = 60_000;
const MOST_MS = 3_600_000;

export interface NamedAddress {
  readonly name: string;
  readonly address: Address;
  readonly ttlSeconds: number;
}

export class NameTable {
  /** The one that was learnt first comes first. */
  readonly #names = new Map<Address, Map<string, number>>();
  readonly #now: () => number;

  /** @param now a clock in milliseconds that never goes back */
  constructor(now: () => number) {
    this.#now = now;
  }

  get size(): number {
    return this.#names.size;
  }

  learn({ name, address, ttlSeconds }: NamedAddress): void {
    const until = this.#now() + Math.min(MOST_MS, Math.max(LEAST_MS, ttlSeconds * 1_000));
    const names = this.#names.get(address) ?? new Map<string, number>();
    this.#names.delete(address);
    const [oldest] = this.#names.keys();
    if (oldest !== undefined && this.#names.size >= MAX_ADDRESSES) this.#names.delete(oldest);
    const before = names.get(name) ?? 0;
    names.delete(name);
    const [first] = names.keys();
    if (first !== undefined && names.size >= MAX_NAMES) names.delete(first);
    names.set(name, Math.max(before, until));
    this.#names.set(address, names);
  }

  /** Until when each name holds, in the clock's time. */
  of(address: Address): readonly (readonly [name: string, untilMs: number])[] {
    const now = this.#now();
    return [...(this.#names.get(address) ?? [])].filter(([, until]) => until > now);
  }
}
