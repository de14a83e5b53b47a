/**
 * Headers of an archive: ustar as far as it goes, and PAX records in front for what it cannot hold (long names, large
 * numbers, times before 1970 or between two seconds, xattrs, sparse files). Bytes of names stay as they are.
 */
import { BLOCK_BYTES, Field, MAGIC_OFFSET, TYPE_OFFSET } from "./format.ts";

export type TypeFlag = "0" | "1" | "2" | "3" | "4" | "5" | "6";

export interface Header {
  readonly type: TypeFlag;
  /** latin1, one character a byte, as `linkName`. */
  readonly name: string;
  readonly linkName?: string | undefined;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow the header. */
  readonly storedBytes: number;
  readonly mtimeSeconds: number;
  /** Counted upwards from the seconds. */
  readonly mtimeNanoseconds: number;
  readonly devMajor?: number | undefined;
  readonly devMinor?: number | undefined;
  /** More PAX records: keys in latin1. */
  readonly records?: readonly (readonly [key: string, value: Uint8Array])[] | undefined;
}

/** What ends an archive. */
export const END_BYTES = 2 * BLOCK_BYTES;
const MAX_ID = 0o7777777;
const MAX_SIZE = 0o77777777777;
const NAME_BYTES = Field.name[1];
const PREFIX_BYTES = Field.prefix[1];

/** Bytes between the end of an entry's data and the next header. */
export function paddingOf(storedBytes: number): number {
  return (BLOCK_BYTES - (storedBytes % BLOCK_BYTES)) % BLOCK_BYTES;
}

/** The header, with the extended one in front of it where it needs one. */
export function encodeHeader(header: Header): Buffer {
  const records: (readonly [string, Uint8Array])[] = [];
  const name = splitName(header.name);
  if (name === undefined) records.push(["path", latin1(header.name)]);
  const { linkName = "" } = header;
  if (linkName.length > NAME_BYTES) records.push(["linkpath", latin1(linkName)]);
  for (const key of ["uid", "gid"] as const) {
    if (header[key] > MAX_ID) records.push([key, latin1(`${header[key]}`)]);
  }
  if (header.storedBytes > MAX_SIZE) records.push(["size", latin1(`${header.storedBytes}`)]);
  const { mtimeSeconds, mtimeNanoseconds } = header;
  const plainTime = mtimeNanoseconds === 0 && mtimeSeconds >= 0 && mtimeSeconds <= MAX_SIZE;
  if (!plainTime) records.push(["mtime", latin1(timeText(mtimeSeconds, mtimeNanoseconds))]);
  records.push(...(header.records ?? []));
  const main = encodeBlock(header, name ?? [header.name.slice(0, NAME_BYTES), ""]);
  return records.length === 0 ? main : Buffer.concat([extension(header, records), main]);
}

function latin1(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** Name and prefix, cut at a slash; undefined when there is no such cut. */
function splitName(name: string): readonly [name: string, prefix: string] | undefined {
  if (name.length <= NAME_BYTES) return [name, ""];
  // The slash between the two is left out, and the last one of a directory stays with its name.
  const slash = name.lastIndexOf("/", Math.min(PREFIX_BYTES, name.length - 2));
  if (slash <= 0 || name.length - slash - 1 > NAME_BYTES) return undefined;
  return [name.slice(slash + 1), name.slice(0, slash)];
}

/** Seconds with a fraction as long as it has to be; the fraction of a negative time counts downwards. */
function timeText(seconds: number, nanoseconds: number): string {
  if (nanoseconds === 0) return `${seconds}`;
  const [whole, rest] =
    seconds >= 0 ? [`${seconds}`, nanoseconds] : [`-${-(seconds + 1)}`, 1_000_000_000 - nanoseconds];
  return `${whole}.${rest.toString().padStart(9, "0").replace(/0+$/, "")}`;
}

function extension(header: Header, records: readonly (readonly [string, Uint8Array])[]): Buffer {
  const body = Buffer.concat(records.map(([key, value]) => record(key, value)));
  const base = header.name.replace(/\/+$/, "").split("/").at(-1) ?? "";
  const fields: Header = {
    type: "0",
    name: "",
    mode: 0o644,
    uid: 0,
    gid: 0,
    storedBytes: body.length,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
  };
  const block = encodeBlock(fields, [`PaxHeaders/${base}`.slice(0, NAME_BYTES), ""], "x");
  return Buffer.concat([block, body, Buffer.alloc(paddingOf(body.length))]);
}

/** `LENGTH KEY=VALUE\n`, where the length counts itself. */
function record(key: string, value: Uint8Array): Buffer {
  const rest = key.length + value.length + 3;
  let length = rest + `${rest}`.length;
  if (`${length}`.length > `${rest}`.length) length = rest + `${length}`.length;
  return Buffer.concat([latin1(`${length} ${key}=`), value, latin1("\n")]);
}

function encodeBlock(
  header: Header,
  [name, prefix]: readonly [string, string],
  type: TypeFlag | "x" = header.type,
): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const text = (field: Field, value: string): void => void block.write(value, field[0], field[1], "latin1");
  const octal = (field: Field, value: number): void =>
    text(field, value.toString(8).padStart(field[1] - 1, "0"));
  text(Field.name, name);
  octal(Field.mode, header.mode);
  octal(Field.uid, header.uid > MAX_ID ? 0 : header.uid);
  octal(Field.gid, header.gid > MAX_ID ? 0 : header.gid);
  octal(Field.size, header.storedBytes > MAX_SIZE ? 0 : header.storedBytes);
  octal(Field.mtime, Math.min(MAX_SIZE, Math.max(0, header.mtimeSeconds)));
  block.write(type, TYPE_OFFSET, "latin1");
  text(Field.linkName, header.linkName ?? "");
  block.write("ustar\x0000", MAGIC_OFFSET, "latin1");
  octal(Field.devMajor, header.devMajor ?? 0);
  octal(Field.devMinor, header.devMinor ?? 0);
  text(Field.prefix, prefix);
  block.fill(0x20, Field.checksum[0], Field.checksum[0] + Field.checksum[1]);
  const sum = block.reduce((total, byte) => total + byte, 0);
  text(Field.checksum, `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
}

/** The records and the map that make a sparse file in PAX's form 1.0. */
export function sparseFile(
  name: string,
  sizeBytes: number,
  runs: readonly { readonly offset: number; readonly length: number }[],
): { readonly name: string; readonly records: NonNullable<Header["records"]>; readonly map: Buffer } {
  const last = runs.at(-1);
  // A hole at the end is told by an empty run.
  const all =
    last !== undefined && last.offset + last.length === sizeBytes
      ? runs
      : [...runs, { offset: sizeBytes, length: 0 }];
  const text = `${all.length}\n${all.map(({ offset, length }) => `${offset}\n${length}\n`).join("")}`;
  const slash = name.lastIndexOf("/") + 1;
  return {
    name: `${name.slice(0, slash)}GNUSparseFile.0/${name.slice(slash)}`,
    records: [
      ["GNU.sparse.major", latin1("1")],
      ["GNU.sparse.minor", latin1("0")],
      ["GNU.sparse.name", latin1(name)],
      ["GNU.sparse.realsize", latin1(`${sizeBytes}`)],
    ],
    map: Buffer.concat([latin1(text), Buffer.alloc(paddingOf(text.length))]),
  };
}
