/**
 * DNS messages, as far as names and addresses go. https://www.rfc-editor.org/rfc/rfc1035#section-4
 *
 *     header (12 bytes) ─ questions ─ answers ─ …
 *
 * Names are lower case, without the last dot. Whatever comes from a guest or from a name server is bounded and may be
 * broken: what cannot be read is undefined.
 */
import type { Address } from "../address.ts";
import { addressFrom, bytesOf } from "../address.ts";

export const TYPE = { a: 1, cname: 5, ptr: 12, aaaa: 28, any: 255 } as const;
export const RCODE = { noError: 0, serverFailure: 2, noSuchName: 3 } as const;
const CLASS_INTERNET = 1;
const HEADER_BYTES = 12;
const MAX_RECORDS = 256;
const MAX_NAME_LENGTH = 253;
/** A pointer leads backwards, so that this many are more than any honest name has. */
const MAX_POINTERS = 32;

export interface DnsQuestion {
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface DnsRecord {
  readonly name: string;
  readonly type: number;
  readonly ttlSeconds: number;
  /** Of A and AAAA. */
  readonly address?: Address;
  /** Of CNAME. */
  readonly target?: string;
}

export interface DnsMessage {
  readonly id: number;
  readonly isAnswer: boolean;
  readonly rcode: number;
  readonly isTruncated: boolean;
  readonly question: DnsQuestion;
  /** Where the question ends, and what a reply to it repeats. */
  readonly questionEnd: number;
}

interface Name {
  readonly name: string;
  /** Behind it. */
  readonly end: number;
}

function readName(bytes: Buffer, start: number): Name | undefined {
  const labels: string[] = [];
  let length = 0;
  let at = start;
  let end: number | undefined;
  for (let pointers = 0; ; ) {
    const size = bytes[at];
    if (size === undefined) return undefined;
    if (size === 0) return { name: labels.join("."), end: end ?? at + 1 };
    if ((size & 0xc0) === 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined || ++pointers > MAX_POINTERS) return undefined;
      end ??= at + 2;
      const target = ((size & 0x3f) << 8) | low;
      if (target >= at) return undefined;
      at = target;
      continue;
    }
    if (size > 63 || at + 1 + size > bytes.length) return undefined;
    length += size + 1;
    if (length > MAX_NAME_LENGTH + 1) return undefined;
    const label = bytes.toString("latin1", at + 1, at + 1 + size);
    // A dot within a label would make another name of it.
    if (label.includes(".")) return undefined;
    labels.push(label.replace(/[A-Z]/g, (letter: string) => letter.toLowerCase()));
    at += 1 + size;
  }
}

/** The header and its one question. Messages with more or none are not understood by resolvers either. */
export function readMessage(bytes: Buffer): DnsMessage | undefined {
  if (bytes.length < HEADER_BYTES || bytes.readUInt16BE(4) !== 1) return undefined;
  const flags = bytes.readUInt16BE(2);
  // Only standard queries: https://www.rfc-editor.org/rfc/rfc1035#section-4.1.1
  if ((flags & 0x7800) !== 0) return undefined;
  const found = readName(bytes, HEADER_BYTES);
  if (found === undefined || found.end + 4 > bytes.length) return undefined;
  const question = {
    name: found.name,
    type: bytes.readUInt16BE(found.end),
    class: bytes.readUInt16BE(found.end + 2),
  };
  return {
    id: bytes.readUInt16BE(0),
    isAnswer: (flags & 0x8000) !== 0,
    rcode: flags & 0x0f,
    isTruncated: (flags & 0x0200) !== 0,
    question,
    questionEnd: found.end + 4,
  };
}

/** The answer section: those records of it that can be read, until one cannot. */
export function readAnswers(bytes: Buffer, { questionEnd }: DnsMessage): DnsRecord[] {
  const records: DnsRecord[] = [];
  const count = Math.min(bytes.readUInt16BE(6), MAX_RECORDS);
  let at = questionEnd;
  for (let i = 0; i < count; i++) {
    const owner = readName(bytes, at);
    if (owner === undefined || owner.end + 10 > bytes.length) break;
    const type = bytes.readUInt16BE(owner.end);
    const start = owner.end + 10;
    const size = bytes.readUInt16BE(owner.end + 8);
    if (start + size > bytes.length) break;
    at = start + size;
    if (bytes.readUInt16BE(owner.end + 2) !== CLASS_INTERNET) continue;
    const record = { name: owner.name, type, ttlSeconds: bytes.readUInt32BE(owner.end + 4) };
    if ((type === TYPE.a && size === 4) || (type === TYPE.aaaa && size === 16))
      records.push({ ...record, address: addressFrom(bytes.subarray(start, at)) });
    else if (type === TYPE.cname) {
      const target = readName(bytes, start)?.name;
      if (target !== undefined) records.push({ ...record, target });
    }
  }
  return records;
}

/** The addresses that an answer gives for the name that was asked for, by way of its other names. */
export function addressesOf(
  bytes: Buffer,
  message: DnsMessage,
): { readonly address: Address; readonly ttlSeconds: number }[] {
  if (!message.isAnswer || message.rcode !== RCODE.noError) return [];
  const records = readAnswers(bytes, message);
  const names = new Set([message.question.name]);
  // Their order is anybody's choice; a chain has no more steps than there are records.
  for (let before = 0; before < names.size; ) {
    before = names.size;
    for (const { name, target } of records) if (target !== undefined && names.has(name)) names.add(target);
  }
  return records.flatMap(({ name, address, ttlSeconds }) =>
    address !== undefined && names.has(name) ? [{ address, ttlSeconds }] : [],
  );
}

const FLAG = { answer: 0x8000, recursionDesired: 0x0100, recursionAvailable: 0x0080 } as const;

/** A reply to `query` from here. @param data what each record holds, of the question's type */
export function makeReply(
  query: Buffer,
  message: DnsMessage,
  rcode: number,
  data: readonly Buffer[] = [],
  ttlSeconds = 5,
): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUInt16BE(message.id, 0);
  const desired = query.readUInt16BE(2) & FLAG.recursionDesired;
  head.writeUInt16BE(FLAG.answer | FLAG.recursionAvailable | desired | rcode, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(data.length, 6);
  const records = data.map((one) => {
    const record = Buffer.alloc(12);
    // A pointer to the name of the question.
    record.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
    record.writeUInt16BE(message.question.type, 2);
    record.writeUInt16BE(CLASS_INTERNET, 4);
    record.writeUInt32BE(ttlSeconds, 6);
    record.writeUInt16BE(one.length, 10);
    return Buffer.concat([record, one]);
  });
  return Buffer.concat([head, query.subarray(HEADER_BYTES, message.questionEnd), ...records]);
}

export function addressData(address: Address): Buffer {
  return bytesOf(address);
}

/** @throws RangeError for a label of more than 63 bytes */
export function encodeName(name: string): Buffer {
  const labels = name.split(".").filter((label) => label !== "");
  const parts = labels.map((label) => {
    const bytes = Buffer.from(label, "latin1");
    if (bytes.length > 63) throw new RangeError("a label of a name has at most 63 bytes");
    return Buffer.concat([Buffer.of(bytes.length), bytes]);
  });
  return Buffer.concat([...parts, Buffer.of(0)]);
}
