/** The fields of a header block. Every function works on `block[at…]` in place and copies only names. */
import { Field, MAGIC_OFFSET, STAR_TRAILER_OFFSET } from "./format.ts";

const SPACE = 0x20;

/**
 * A numeric field: octal text, or (GNU) big-endian base-256 when the first bit is set, two's complement.
 * Unused fields may be blank. Undefined = malformed, or beyond 2^53-1 in either direction.
 */
export function numberField(block: Uint8Array, at: number, field: Field): number | undefined {
  const start = at + field[0];
  const end = start + field[1];
  const first = block[start] as number;
  if (first & 0x80) return base256(block, start, end);
  let from = start;
  while (from < end && (block[from] === SPACE || block[from] === 0)) from++;
  let value = 0;
  let i = from;
  for (; i < end; i++) {
    const byte = block[i] as number;
    if (byte === 0 || byte === SPACE) break;
    if (byte < 0x30 || byte > 0x37) return undefined;
    value = value * 8 + (byte - 0x30);
  }
  // Behind a NUL may be anything, behind a space only padding: what archive/tar of Go takes.
  for (; i < end && block[i] !== 0; i++) if (block[i] !== SPACE) return undefined;
  return value;
}

function base256(block: Uint8Array, start: number, end: number): number | undefined {
  const negative = ((block[start] as number) & 0x40) !== 0;
  const invert = negative ? 0xff : 0;
  let value = 0;
  for (let i = start; i < end; i++) {
    let byte = (block[i] as number) ^ invert;
    if (i === start) byte &= 0x7f;
    value = value * 256 + byte;
    if (value > Number.MAX_SAFE_INTEGER) return undefined;
  }
  return negative ? -value - 1 : value;
}

const EMPTY = new Uint8Array(0);

/** A name field, up to its first NUL. A copy. */
export function nameField(block: Uint8Array, at: number, field: Field): Uint8Array {
  const start = at + field[0];
  let end = start;
  const limit = start + field[1];
  while (end < limit && block[end] !== 0) end++;
  if (end === start) return EMPTY;
  // So few bytes are copied here sooner than by a call for it.
  const name = new Uint8Array(end - start);
  for (let i = 0; i < name.length; i++) name[i] = block[start + i] as number;
  return name;
}

/** What follows from the sum of a header's bytes. */
export type Checksum = "zero-block" | "good" | "bad";

export function checksum(block: Uint8Array, at: number): Checksum {
  let sum = 0;
  for (let i = at; i < at + 512; i++) sum += block[i] as number;
  if (sum === 0) return "zero-block";
  const [offset, length] = Field.checksum;
  const claimed = numberField(block, at, Field.checksum);
  // The checksum field itself counts as eight spaces.
  let own = 0;
  for (let i = at + offset; i < at + offset + length; i++) own += block[i] as number;
  if (claimed === sum - own + length * SPACE) return "good";
  // Some old writers summed signed bytes.
  let signed = length * SPACE;
  for (let i = 0; i < 512; i++) {
    if (i >= offset && i < offset + length) continue;
    const byte = block[at + i] as number;
    signed += byte > 127 ? byte - 256 : byte;
  }
  return claimed === signed ? "good" : "bad";
}

export type Variant = "v7" | "ustar" | "gnu" | "star";

export function variantOf(block: Uint8Array, at: number): Variant {
  const magic = at + MAGIC_OFFSET;
  if (!isAt(block, magic, USTAR)) return "v7";
  if (block[magic + 5] === 0) return isAt(block, at + STAR_TRAILER_OFFSET, STAR) ? "star" : "ustar";
  return isAt(block, magic + 5, GNU) ? "gnu" : "v7";
}

const USTAR = Buffer.from("ustar");
const GNU = Buffer.from("  \0");
const STAR = Buffer.from("tar\0");

function isAt(block: Uint8Array, at: number, bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) if (block[at + i] !== bytes[i]) return false;
  return true;
}

/** `prefix/name`, where the variant has a prefix and the header one. */
export function fullName(block: Uint8Array, at: number, variant: Variant): Uint8Array {
  const name = nameField(block, at, Field.name);
  if (variant !== "ustar" && variant !== "star") return name;
  const prefix = nameField(block, at, variant === "star" ? Field.starPrefix : Field.prefix);
  if (prefix.length === 0) return name;
  const joined = new Uint8Array(prefix.length + 1 + name.length);
  joined.set(prefix);
  joined[prefix.length] = 0x2f;
  joined.set(name, prefix.length + 1);
  return joined;
}
