/** The reader meets bytes that nobody wrote: only ever a TarError, and nothing that depends on how they are cut. */
import * as fc from "fast-check";
import { TarError } from "../../../src/formats/tar/error.ts";
import { archive, entry, gnuSparse, pax } from "../../support/tar-builder.ts";
import { collect } from "../../support/tar-entries.ts";
import type { CollectedEntry } from "../../support/tar-entries.ts";
import { choiceOf, demand, inPieces, withChoice } from "../target.ts";
import type { FuzzTarget } from "../target.ts";

const BLOCK_BYTES = 512;
/** Of the ways to cut the same bytes. */
const CUTS = 64;

export const SAMPLE = archive(
  pax({ path: "a/long/name", mtime: "1.5", "SCHILY.xattr.user.a": "v" }),
  entry({ name: "x" }, "some data"),
  entry({ type: "L" }, `${"n".repeat(150)}\0`),
  entry({ name: "cut", type: "5" }),
  gnuSparse(
    "s",
    9000,
    [
      [0, 512],
      [600, 10],
      [1000, 5],
      [2000, 5],
      [3000, 5],
      [4000, 5],
    ],
    Buffer.alloc(542, 1),
  ),
  pax({
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "s",
    "GNU.sparse.realsize": "2000",
  }),
  entry({ name: "y" }, Buffer.concat([Buffer.from("1\n100\n3\n".padEnd(512, "\0")), Buffer.from("abc")])),
  entry({ name: "l", type: "2", linkName: "target" }),
);

/** Overwrites bytes of the sample. */
const changed = fc
  .array(fc.tuple(fc.nat(SAMPLE.length - 1), fc.uint8Array({ minLength: 1, maxLength: 12 })), {
    minLength: 1,
    maxLength: 4,
  })
  .map((changes) => {
    const bytes = Buffer.from(SAMPLE);
    for (const [at, patch] of changes) bytes.set(patch.subarray(0, bytes.length - at), at);
    return bytes;
  });

const KEYS = [
  "path",
  "size",
  "mtime",
  "uid",
  "linkpath",
  "GNU.sparse.map",
  "GNU.sparse.size",
  "GNU.sparse.major",
  "GNU.sparse.realsize",
  "SCHILY.acl.access",
  "LIBARCHIVE.xattr.%41",
];
const value = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.bigInt().map(String),
  fc.constantFrom("0,5", "1", "-1.5", "u::rwx"),
);
const key = fc.oneof(fc.constantFrom(...KEYS), fc.string({ minLength: 1, maxLength: 8 }));
const extended = fc
  .dictionary(key, value)
  .map((fields) => archive(pax(fields), entry({ name: "f" }, "hello")));

/** Whatever stands where a header's magic or checksum is becomes a header. */
function mend(bytes: Buffer): void {
  for (let at = 0; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) {
    const looksLikeOne = bytes.readUInt32BE(at + 257) === USTAR || bytes[at + 155] === 0x20;
    if (!looksLikeOne) continue;
    bytes.fill(0x20, at + 148, at + 156);
    let sum = 0;
    for (let byte = at; byte < at + BLOCK_BYTES; byte++) sum += bytes[byte] ?? 0;
    bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, at + 148, "latin1");
  }
}

/** "usta", of "ustar". */
const USTAR = 0x7573_7461;

/** All that the reader told, or why it refused. */
function outcome(bytes: Uint8Array, sizes?: readonly number[]): string {
  try {
    return collect(bytes, sizes).map(show).join("\n");
  } catch (error) {
    if (error instanceof TarError) return error.message;
    throw error;
  }
}

function show({ entry: seen, name, linkName, runs }: CollectedEntry): string {
  const { type, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, sizeBytes, storedBytes, segments } = seen;
  const numbers = [mode, uid, gid, mtimeSeconds, mtimeNanoseconds, sizeBytes, storedBytes, seen.devMajor];
  const xattrs = seen.xattrs.map((xattr) => `${latin1(xattr.name)}=${latin1(xattr.value)}`);
  const data = runs.map((run) => `${run.position} ${run.data.toString("latin1")}`);
  const rest = [...numbers, seen.devMinor, seen.droppedAcls, seen.offset, ...(segments ?? ["none"])];
  return [type, name, linkName, ...rest, ...xattrs, ...data].join(" ");
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

function check(input: Uint8Array): void {
  const { choice, rest } = choiceOf(input, CUTS);
  const whole = outcome(rest);
  const sizes = Array.from(inPieces(rest.subarray(0, 8 * BLOCK_BYTES), choice), ({ length }) => length);
  const cut = outcome(rest, sizes.length > 0 ? sizes : [1]);
  demand(cut === whole, () => `cut into ${sizes.join(", ")}: ${cut}, in one piece: ${whole}`);
}

function repair(input: Uint8Array): void {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.length);
  if (input.length > 1) mend(bytes.subarray(1));
}

export const tar: FuzzTarget = {
  name: "tar",
  inputs: withChoice(CUTS, fc.oneof(changed, fc.uint8Array({ maxLength: 3000 }))),
  repair,
  check,
};

export const paxHeaders: FuzzTarget = { name: "pax", inputs: withChoice(CUTS, extended), repair, check };
