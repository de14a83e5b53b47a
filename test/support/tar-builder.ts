/** Tar archives made by hand, byte by byte, so that tests can make them wrong in one place. */

export interface HeaderFields {
  readonly name?: string | Uint8Array;
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly mtime?: number;
  readonly linkName?: string | Uint8Array;
  readonly magic?: string;
  readonly prefix?: string;
  readonly devMajor?: number;
  readonly devMinor?: number;
  /** Bytes put over the finished fields, before the checksum: [offset, bytes]. */
  readonly patches?: readonly (readonly [number, string | Uint8Array])[];
}

function put(block: Buffer, at: number, value: string | Uint8Array): void {
  block.set(typeof value === "string" ? Buffer.from(value, "latin1") : value, at);
}

function octal(value: number, length: number): string {
  return `${value.toString(8).padStart(length - 1, "0")}\0`;
}

/** Big-endian base-256, as GNU tar writes what octal cannot hold. */
export function base256(value: bigint, length = 12): Uint8Array {
  const bytes = new Uint8Array(length);
  let rest = BigInt.asUintN(length * 8, value);
  for (let i = length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  bytes[0] = (bytes[0] as number) | 0x80;
  return bytes;
}

export function setChecksum(block: Buffer): Buffer {
  block.fill(0x20, 148, 156);
  put(
    block,
    148,
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
  );
  return block;
}

export function header(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(512);
  put(block, 0, fields.name ?? "file");
  put(block, 100, octal(fields.mode ?? 0o644, 8));
  put(block, 108, octal(fields.uid ?? 0, 8));
  put(block, 116, octal(fields.gid ?? 0, 8));
  put(block, 124, octal(fields.size ?? 0, 12));
  put(block, 136, octal(fields.mtime ?? 0, 12));
  put(block, 156, fields.type ?? "0");
  put(block, 157, fields.linkName ?? "");
  put(block, 257, fields.magic ?? "ustar\x0000");
  put(block, 329, octal(fields.devMajor ?? 0, 8));
  put(block, 337, octal(fields.devMinor ?? 0, 8));
  put(block, 345, fields.prefix ?? "");
  for (const [at, bytes] of fields.patches ?? []) put(block, at, bytes);
  return setChecksum(block);
}

export function padded(data: string | Uint8Array): Buffer {
  const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : Buffer.from(data);
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** A header and its data; the size is that of the data. */
export function entry(fields: HeaderFields, data: string | Uint8Array = ""): Buffer {
  return Buffer.concat([header({ size: data.length, ...fields }), padded(data)]);
}

export function paxRecord(key: string, value: string | Uint8Array): Buffer {
  const body = Buffer.concat([
    Buffer.from(` ${key}=`),
    Buffer.from(value as string, "latin1"),
    Buffer.from("\n"),
  ]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

export function pax(records: Readonly<Record<string, string>>, type = "x"): Buffer {
  return paxRaw(Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, value))), type);
}

export function paxRaw(body: string | Uint8Array, type = "x"): Buffer {
  return entry({ name: "PaxHeaders/x", type }, body);
}

export const END = Buffer.alloc(1024);

export function archive(...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([...parts, END]);
}

/** An old GNU sparse header: the pairs that fit, and extension blocks for the rest. */
export function gnuSparse(
  name: string,
  realSize: number,
  map: readonly (readonly [number, number])[],
  data: Uint8Array,
): Buffer {
  const pair = ([start, length]: readonly [number, number]): string => octal(start, 12) + octal(length, 12);
  const inHeader = map.slice(0, 4);
  const rest = map.slice(4);
  const blocks: Buffer[] = [];
  for (let i = 0; i < rest.length; i += 21) {
    const block = Buffer.alloc(512);
    for (const [k, p] of rest.slice(i, i + 21).entries()) put(block, 24 * k, pair(p));
    if (i + 21 < rest.length) block[504] = 1;
    blocks.push(block);
  }
  const patches: [number, string][] = inHeader.map((p, i) => [386 + 24 * i, pair(p)]);
  if (rest.length > 0) patches.push([482, "\x01"]);
  patches.push([483, octal(realSize, 12)]);
  const head = header({ name, type: "S", size: data.length, magic: "ustar  \0", patches });
  return Buffer.concat([head, ...blocks, padded(data)]);
}
