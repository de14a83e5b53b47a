/**
 * A binary structure is a table: fields with their offsets. Encoding, decoding and the text dump come from
 * that one table, and a table whose fields overlap or leave the structure fails when its module is loaded.
 *
 *     const DIRENT = struct("erofs_dirent", 12, { nid: u64le(0), nameoff: u16le(8), fileType: u8(10) });
 *     DIRENT.encode(buffer, 64, { nid: 36, nameoff: 24, fileType: 2 });
 *     DIRENT.decode(buffer, 64).nid                  // 36
 *     view.setUint16(64 + DIRENT.at.nameoff, 24, true)  // hot loops: the same offsets, no object
 */
import { FlameBoxError } from "../util/error.ts";

/** One kind of field at one offset. `read` and `write` get a range that was checked by the structure. */
export interface Field<T> {
  readonly offset: number;
  readonly sizeBytes: number;
  read(view: DataView, at: number): T;
  /** @throws FlameBoxError `field-out-of-range` when the value does not fit */
  write(view: DataView, at: number, value: T): void;
  show(value: T): string;
}

/** The value's type differs from field to field; only the table knows it. */
type Fields = Readonly<Record<string, Field<never> | Field<number> | Field<bigint> | Field<Uint8Array>>>;
type ValueOf<F> = F extends Field<infer T> ? T : never;
export type Values<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };

export interface Struct<F extends Fields> {
  readonly name: string;
  readonly sizeBytes: number;
  /** The offset of each field. */
  readonly at: { readonly [K in keyof F]: number };
  /** Writes all bytes of the structure; those of no field become zero, like fields that are left out. */
  encode(out: Uint8Array, offset: number, values: Partial<Values<F>>): void;
  /** @throws FlameBoxError `struct-out-of-bounds` when the bytes are not there */
  decode(bytes: Uint8Array, offset: number): Values<F>;
  /** One line a field: `magic 0xe0f5e1e2`. */
  dump(values: Values<F>): string;
}

/** @throws FlameBoxError `bad-struct` when fields overlap or leave the structure */
export function struct<const F extends Fields>(name: string, sizeBytes: number, fields: F): Struct<F> {
  checkTable(name, sizeBytes, fields);
  const table = Object.entries(fields) as [string, Field<unknown>][];
  const view = (bytes: Uint8Array, offset: number): DataView => {
    if (!Number.isInteger(offset) || offset < 0 || offset + sizeBytes > bytes.length) {
      throw new FlameBoxError(
        "struct-out-of-bounds",
        `${name} needs ${sizeBytes} bytes at ${offset}, of ${bytes.length}`,
      );
    }
    return new DataView(bytes.buffer, bytes.byteOffset + offset, sizeBytes);
  };
  return {
    name,
    sizeBytes,
    at: Object.fromEntries(table.map(([key, { offset }]) => [key, offset])) as { [K in keyof F]: number },
    encode(out, offset, values) {
      const target = view(out, offset);
      out.fill(0, offset, offset + sizeBytes);
      for (const [key, field] of table) {
        const value = (values as Record<string, unknown>)[key];
        if (value !== undefined) field.write(target, field.offset, value);
      }
    },
    decode(bytes, offset) {
      const source = view(bytes, offset);
      return Object.fromEntries(
        table.map(([key, field]) => [key, field.read(source, field.offset)]),
      ) as Values<F>;
    },
    dump(values) {
      const known = values as Record<string, unknown>;
      return table.map(([key, field]) => `${key} ${field.show(known[key])}\n`).join("");
    },
  };
}

function checkTable(name: string, sizeBytes: number, fields: Fields): void {
  let end = 0;
  const byOffset = Object.entries(fields).sort(([, a], [, b]) => a.offset - b.offset);
  for (const [key, field] of byOffset) {
    if (!Number.isInteger(field.offset) || field.offset < end || field.sizeBytes < 1) {
      throw new FlameBoxError("bad-struct", `${name}.${key} at ${field.offset} overlaps the field before it`);
    }
    end = field.offset + field.sizeBytes;
    if (end > sizeBytes) {
      throw new FlameBoxError("bad-struct", `${name}.${key} ends at ${end}, behind ${sizeBytes} bytes`);
    }
  }
}

function checkRange(value: number, low: number, high: number): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  throw new FlameBoxError("field-out-of-range", `${value} is not an integer from ${low} to ${high}`);
}

const decimal = (value: number | bigint): string => value.toString();

export function u8(offset: number): Field<number> {
  return {
    offset,
    sizeBytes: 1,
    read: (view, at) => view.getUint8(at),
    write(view, at, value) {
      checkRange(value, 0, 0xff);
      view.setUint8(at, value);
    },
    show: decimal,
  };
}

export function u16le(offset: number): Field<number> {
  return {
    offset,
    sizeBytes: 2,
    read: (view, at) => view.getUint16(at, true),
    write(view, at, value) {
      checkRange(value, 0, 0xffff);
      view.setUint16(at, value, true);
    },
    show: decimal,
  };
}

export function u32le(offset: number): Field<number> {
  return {
    offset,
    sizeBytes: 4,
    read: (view, at) => view.getUint32(at, true),
    write(view, at, value) {
      checkRange(value, 0, 0xffff_ffff);
      view.setUint32(at, value, true);
    },
    show: decimal,
  };
}

export function u16be(offset: number): Field<number> {
  return {
    offset,
    sizeBytes: 2,
    read: (view, at) => view.getUint16(at),
    write(view, at, value) {
      checkRange(value, 0, 0xffff);
      view.setUint16(at, value);
    },
    show: decimal,
  };
}

export function u32be(offset: number): Field<number> {
  return {
    offset,
    sizeBytes: 4,
    read: (view, at) => view.getUint32(at),
    write(view, at, value) {
      checkRange(value, 0, 0xffff_ffff);
      view.setUint32(at, value);
    },
    show: decimal,
  };
}

/** As `u64le`, the other way round. */
export function u64be(offset: number): Field<number> {
  return {
    offset,
    sizeBytes: 8,
    read: (view, at) => view.getUint32(at) * LOW_WORD + view.getUint32(at + 4),
    write(view, at, value) {
      checkRange(value, 0, Number.MAX_SAFE_INTEGER);
      view.setUint32(at, Math.floor(value / LOW_WORD));
      view.setUint32(at + 4, value >>> 0);
    },
    show: decimal,
  };
}

/** A `u32le` that people read in hexadecimal: magics, flags, checksums. */
export function hex32le(offset: number): Field<number> {
  return { ...u32le(offset), show: (value) => `0x${value.toString(16).padStart(8, "0")}` };
}

const LOW_WORD = 0x1_0000_0000;

/**
 * 64 bits as a number: exact up to 2^53 - 1. A larger one in foreign bytes reads as an imprecise number
 * beyond every bound that a caller checks.
 */
export function u64le(offset: number): Field<number> {
  return {
    offset,
    sizeBytes: 8,
    read: (view, at) => view.getUint32(at + 4, true) * LOW_WORD + view.getUint32(at, true),
    write(view, at, value) {
      checkRange(value, 0, Number.MAX_SAFE_INTEGER);
      setInt64(view, at, value);
    },
    show: decimal,
  };
}

/** Signed 64 bits as a number; the same remark as for `u64le`. */
export function i64le(offset: number): Field<number> {
  return {
    offset,
    sizeBytes: 8,
    read: (view, at) => view.getInt32(at + 4, true) * LOW_WORD + view.getUint32(at, true),
    write(view, at, value) {
      checkRange(value, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
      setInt64(view, at, value);
    },
    show: decimal,
  };
}

/** All 64 bits. */
export function u64bigLe(offset: number): Field<bigint> {
  return {
    offset,
    sizeBytes: 8,
    read: (view, at) => view.getBigUint64(at, true),
    write(view, at, value) {
      if (value < 0n || value > 0xffff_ffff_ffff_ffffn) {
        throw new FlameBoxError("field-out-of-range", `${value} does not fit 64 bits`);
      }
      view.setBigUint64(at, value, true);
    },
    show: decimal,
  };
}

/** Exactly `sizeBytes` bytes; shorter values are filled up with zeros. Decoding copies. */
export function bytes(offset: number, sizeBytes: number): Field<Uint8Array> {
  return {
    offset,
    sizeBytes,
    read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, sizeBytes).slice(),
    write(view, at, value) {
      checkRange(value.length, 0, sizeBytes);
      new Uint8Array(view.buffer, view.byteOffset + at, sizeBytes).fill(0).set(value);
    },
    show: (value) => Buffer.from(value).toString("hex"),
  };
}

/** For hot loops: an integer of at most 53 bits, signed or not, as 8 bytes, without BigInt. */
export function setInt64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setInt32(at + 4, Math.floor(value / LOW_WORD), true);
}
