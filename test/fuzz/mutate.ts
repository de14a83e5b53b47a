/** Seeded changes to bytes. */

/** Numbers from 0 up to, and without, `below`; the same for the same seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Mulberry32, by Tommy Ettinger (public domain). */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  }
}

const INTERESTING = [0, 1, 0x0a, 0x20, 0x22, 0x2c, 0x2d, 0x2e, 0x2f, 0x30, 0x3d, 0x5c, 0x7f, 0x80, 0xff];
const MAX_BYTES = 16 * 1024;

type Change = (bytes: Buffer, random: Random, other: Uint8Array) => Buffer;

const at = (bytes: Uint8Array, random: Random): number => random.below(bytes.length + 1);

/** From and behind a range of at most 64 bytes. */
function range(bytes: Uint8Array, random: Random): [from: number, to: number] {
  const from = at(bytes, random);
  return [from, Math.min(bytes.length, from + 1 + random.below(64))];
}

const CHANGES: readonly Change[] = [
  (bytes, random) => {
    const place = random.below(bytes.length || 1);
    if (bytes.length > 0) bytes[place] = (bytes[place] ?? 0) ^ (1 << random.below(8));
    return bytes;
  },
  (bytes, random) => {
    if (bytes.length > 0)
      bytes[random.below(bytes.length)] = INTERESTING[random.below(INTERESTING.length)] ?? 0;
    return bytes;
  },
  (bytes, random) => {
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
    return bytes;
  },
  // Takes bytes away, or the end.
  (bytes, random) => {
    const [from, to] = range(bytes, random);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  (bytes, random) => bytes.subarray(0, at(bytes, random)),
  // Puts bytes in: some of its own again, or of another input.
  (bytes, random) => {
    const [from, to] = range(bytes, random);
    const place = at(bytes, random);
    return Buffer.concat([bytes.subarray(0, place), bytes.subarray(from, to), bytes.subarray(place)]);
  },
  (bytes, random, other) => {
    const [from, to] = range(other, random);
    const place = at(bytes, random);
    return Buffer.concat([bytes.subarray(0, place), other.subarray(from, to), bytes.subarray(place)]);
  },
  // Goes on as another input does.
  (bytes, random, other) => {
    const place = at(bytes, random);
    return Buffer.concat([bytes.subarray(0, place), other.subarray(Math.min(place, other.length))]);
  },
  // One number for another.
  (bytes, random) => {
    const text = bytes.toString("latin1");
    const numbers = [...text.matchAll(/\d+/g)];
    const chosen = numbers[random.below(numbers.length || 1)];
    if (chosen === undefined) return bytes;
    const value =
      ["0", "1", "-1", "8", "255", "4294967296", "9007199254740993", "1e9"][random.below(8)] ?? "";
    const end = chosen.index + chosen[0].length;
    return Buffer.concat([bytes.subarray(0, chosen.index), Buffer.from(value), bytes.subarray(end)]);
  },
];

/** A changed copy of `input`; `other` is where foreign bytes come from. */
export function mutated(input: Uint8Array, other: Uint8Array, random: Random): Buffer {
  let bytes = Buffer.from(input);
  for (let left = 1 + random.below(4); left > 0; left--) {
    bytes = Buffer.from(CHANGES[random.below(CHANGES.length)]?.(bytes, random, other) ?? bytes);
  }
  return Buffer.from(bytes.subarray(0, MAX_BYTES));
}
