import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  bytes,
  hex32le,
  i64le,
  setInt64,
  struct,
  u16le,
  u32le,
  u64bigLe,
  u64le,
  u8,
} from "../../src/formats/struct.ts";
import { FlameBoxError } from "../../src/util/error.ts";

const ALL = struct("all", 44, {
  a: u8(0),
  b: u16le(1),
  c: u32le(4),
  d: u64le(8),
  e: i64le(16),
  f: u64bigLe(24),
  g: bytes(32, 3),
  h: hex32le(36),
});
const VALUES = {
  a: 1,
  b: 0x203,
  c: 0x4050607,
  d: 2 ** 40 + 5,
  e: -2,
  f: 0xffff_ffff_ffff_fffen,
  g: Uint8Array.of(7, 8, 9),
  h: 0xe0f5e1e2,
};

test("a structure encodes, decodes and dumps from one table", () => {
  const out = new Uint8Array(50).fill(0xaa);
  ALL.encode(out, 3, VALUES);
  expect(Buffer.from(out).toString("hex")).toMatchInlineSnapshot(
    `"aaaaaa01030200070605040500000000010000fefffffffffffffffeffffffffffffff07080900e2e1f5e000000000aaaaaa"`,
  );
  expect(ALL.decode(out, 3)).toEqual(VALUES);
  expect(ALL.dump(VALUES)).toMatchInlineSnapshot(`
    "a 1
    b 515
    c 67438087
    d 1099511627781
    e -2
    f 18446744073709551614
    g 070809
    h 0xe0f5e1e2
    "
  `);
  expect(ALL.at.h).toBe(36);
});

test("fields that are left out, and gaps, become zero", () => {
  const out = new Uint8Array(44).fill(0xaa);
  ALL.encode(out, 0, {});
  expect(out).toEqual(new Uint8Array(44));
});

const BAD_TABLES: [string, () => unknown][] = [
  ["overlapping fields", () => struct("x", 8, { a: u32le(0), b: u16le(3) })],
  ["overlap in another order", () => struct("x", 8, { a: u16le(3), b: u32le(0) })],
  ["a field behind the end", () => struct("x", 8, { a: u64le(1) })],
  ["a negative offset", () => struct("x", 8, { a: u8(-1) })],
  ["an empty field", () => struct("x", 8, { a: bytes(0, 0) })],
];
test.each(BAD_TABLES)("a table with %s is refused", (_name, make) => {
  expect(make).toThrow(expect.objectContaining({ code: "bad-struct" }));
});

const OUT_OF_RANGE: [string, Partial<typeof VALUES>][] = [
  ["u8 256", { a: 256 }],
  ["u8 -1", { a: -1 }],
  ["u16 65536", { b: 65536 }],
  ["u32 2^32", { c: 2 ** 32 }],
  ["u32 1.5", { c: 1.5 }],
  ["u32 NaN", { c: Number.NaN }],
  ["u64 2^53", { d: 2 ** 53 }],
  ["i64 -2^53", { e: -(2 ** 53) }],
  ["big -1", { f: -1n }],
  ["too many bytes", { g: new Uint8Array(4) }],
];
test.each(OUT_OF_RANGE)("encode refuses %s", (_name, values) => {
  const out = new Uint8Array(44);
  expect(() => ALL.encode(out, 0, values)).toThrow(expect.objectContaining({ code: "field-out-of-range" }));
});

test.each([-1, 7, 44, 0.5, Number.NaN])("no access outside the bytes: at %s of 50", (offset) => {
  const out = new Uint8Array(50);
  expect(() => ALL.decode(out, offset)).toThrow(FlameBoxError);
  expect(() => ALL.encode(out, offset, {})).toThrow(FlameBoxError);
});

test("setInt64 writes what BigInt writes", () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), (value) => {
      const view = new DataView(new ArrayBuffer(8));
      setInt64(view, 0, value);
      expect(view.getBigInt64(0, true)).toBe(BigInt(value));
    }),
    { seed: 2, numRuns: 500 },
  );
});
