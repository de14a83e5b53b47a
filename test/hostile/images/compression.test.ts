/**
 * Hostile layers, as a table: what is around the archive. gzip and zstd that lie, end too early or never, and unpack to
 * more than anybody has; diff IDs that are another archive's.
 */
import { execFileSync } from "node:child_process";
import { deflateRawSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { ConvertLimits } from "../../../src/rootfs/convert.ts";
import { header } from "../../support/tar-builder.ts";
import { judge } from "./judge.ts";
import type { Caps } from "./judge.ts";
import { file, fileLine, LAYER, sha256, tar } from "./row.ts";
import type { Blob } from "./row.ts";
import { essenceOf, inPlace } from "./suite.ts";

inPlace();

const archive = tar(file("f", "data"));
const tree = [fileLine("f", "data")];
const packed = gzipSync(archive, { level: 9 });
const zstd = (bytes: Uint8Array, ...args: string[]) =>
  execFileSync("zstd", ["-q", "-c", ...args], { input: bytes, maxBuffer: 2 ** 28 });
const zpacked = zstd(archive);

interface Bytes {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Default gzip. */
  readonly as?: "gzip" | "zstd" | "none";
  /** Of what is inside; default: of `archive`. */
  readonly diffId?: string;
  readonly limits?: Partial<ConvertLimits>;
  readonly caps?: Partial<Caps>;
}

/** Refused; `twin` is nearly the same, with the same limits, and has to work. */
interface Refused extends Bytes {
  readonly want: string;
  readonly twin: Uint8Array;
  /** The archive in the twin, of the same tree; default: `archive`. */
  readonly twinOf?: Uint8Array;
}

/** Taken: odd, and its own twin. */
interface Taken extends Bytes {
  readonly want: readonly string[];
}

type Row = Refused | Taken;

/** A gzip member by hand. */
function member(
  data: Uint8Array,
  flags = 0,
  extra: Uint8Array = Buffer.alloc(0),
  sizeBytes = data.length,
): Buffer {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(sizeBytes, 4);
  return Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255]),
    extra,
    deflateRawSync(data),
    trailer,
  ]);
}

const changed = (bytes: Uint8Array, at: number, value: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[at] = value;
  return copy;
};
const half = archive.length / 2;
const nothing = gzipSync(Buffer.alloc(0));
const skippable = (data: Uint8Array, magic = 0x50) => {
  const head = Buffer.from([magic, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data]);
};

const gzip: Row[] = [
  { name: "not gzip at all", bytes: archive, want: "gzip-corrupt", twin: gzipSync(archive, { level: 0 }) },
  { name: "zstd that says gzip", bytes: zpacked, want: "gzip-corrupt", twin: packed },
  { name: "empty", bytes: new Uint8Array(0), want: "gzip-truncated", twin: Buffer.concat([nothing, packed]) },
  { name: "a wrong method", bytes: changed(packed, 2, 7), want: "gzip-corrupt", twin: changed(packed, 9, 7) },
  {
    name: "reserved flags",
    bytes: changed(packed, 3, 0xe0),
    want: "gzip-corrupt",
    twin: changed(packed, 3, 1),
  },
  {
    name: "a flipped bit in the middle",
    bytes: changed(packed, 40, (packed[40] as number) ^ 0x10),
    want: "corrupt",
    twin: changed(packed, 5, 0x10),
  },
  {
    name: "a wrong length in the trailer",
    bytes: changed(packed, packed.length - 2, 99),
    want: "gzip-corrupt",
    twin: member(archive),
  },
  {
    name: "a trailer of the wrong modulus",
    bytes: member(archive, 0, Buffer.alloc(0), archive.length + 2 ** 31),
    want: "gzip-corrupt",
    twin: member(archive, 0, Buffer.alloc(0), archive.length),
  },
  {
    name: "garbage behind the end",
    bytes: Buffer.concat([packed, Buffer.from("garbage")]),
    want: "gzip-trailing-garbage",
    twin: Buffer.concat([packed, Buffer.alloc(7)]),
  },
  {
    name: "another archive behind the end",
    bytes: Buffer.concat([packed, archive]),
    want: "gzip-trailing-garbage",
    twin: Buffer.concat([packed, nothing]),
  },
  {
    name: "zeros behind the end, as tape blocks have",
    bytes: Buffer.concat([packed, Buffer.alloc(5000)]),
    want: tree,
  },
  {
    name: "half of a second member",
    bytes: Buffer.concat([packed, packed.subarray(0, 20)]),
    want: "gzip-truncated",
    twin: Buffer.concat([packed, nothing, nothing]),
  },
  {
    name: "a second member that the diff ID does not know",
    bytes: Buffer.concat([packed, gzipSync(archive)]),
    want: "diff-id-mismatch",
    twin: Buffer.concat([gzipSync(archive.subarray(0, half)), gzipSync(archive.subarray(half))]),
  },
  {
    name: "two members, cut within a header of the archive",
    bytes: Buffer.concat([gzipSync(archive.subarray(0, 300)), gzipSync(archive.subarray(300))]),
    want: tree,
  },
  {
    name: "a thousand members of a byte and some",
    bytes: Buffer.concat(
      Array.from({ length: half / 2 }, (_, i) => member(archive.subarray(4 * i, 4 * i + 4))),
    ),
    want: tree,
  },
  {
    name: "empty members around the one",
    bytes: Buffer.concat([
      ...Array.from({ length: 50 }, () => member(Buffer.alloc(0))),
      packed,
      member(Buffer.alloc(0)),
    ]),
    want: tree,
  },
  { name: "a name in the header", bytes: member(archive, 8, Buffer.from("../../etc/passwd\0")), want: tree },
  {
    name: "a name without an end",
    bytes: member(archive, 8, Buffer.alloc(300_000, "n")),
    want: "gzip-corrupt",
    twin: member(archive, 8, Buffer.from(`${"n".repeat(300)}\0`)),
  },
  {
    name: "a comment without an end",
    bytes: member(archive, 16, Buffer.alloc(300_000, "c")),
    want: "gzip-corrupt",
    twin: member(archive, 16, Buffer.from(`${"c".repeat(300)}\0`)),
  },
  {
    name: "an extra field of 65,535 bytes",
    bytes: member(archive, 4, Buffer.alloc(65_537, 0xff)),
    want: tree,
  },
  {
    name: "an extra field that is not there",
    bytes: Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 0xff, 0xff]),
    want: "gzip-truncated",
    twin: member(archive, 4, Buffer.alloc(2)),
  },
  ...[
    1,
    5,
    10,
    11,
    18,
    packed.length >> 1,
    packed.length - 9,
    packed.length - 8,
    packed.length - 4,
    packed.length - 1,
  ].map(
    (length): Row => ({
      name: `cut behind byte ${length}`,
      bytes: packed.subarray(0, length),
      want: "gzip-truncated",
      twin: packed,
    }),
  ),
];

const zst: Row[] = [
  {
    name: "not zstd at all",
    as: "zstd",
    bytes: archive,
    want: "zstd-corrupt",
    twin: zstd(archive, "--no-check"),
  },
  { name: "gzip that says zstd", as: "zstd", bytes: packed, want: "zstd-corrupt", twin: zpacked },
  {
    name: "a flipped bit",
    as: "zstd",
    bytes: changed(zpacked, 20, (zpacked[20] as number) ^ 0x20),
    want: "corrupt",
    twin: zstd(archive, "-1"),
  },
  {
    name: "a wrong checksum",
    as: "zstd",
    bytes: changed(zpacked, zpacked.length - 1, (zpacked.at(-1) as number) ^ 1),
    want: "corrupt",
    twin: zstd(archive, "--no-check"),
  },
  {
    name: "reserved bits",
    as: "zstd",
    bytes: changed(zpacked, 4, (zpacked[4] as number) | 8),
    want: "zstd-corrupt",
    twin: zstd(archive, "-19"),
  },
  {
    name: "a window of 2 GiB",
    as: "zstd",
    bytes: Buffer.from("28b52ffd00a8010000", "hex"),
    want: "zstd-corrupt",
    twin: zstd(archive, "--long=27"),
  },
  {
    name: "skippable frames",
    as: "zstd",
    bytes: Buffer.concat([skippable(Buffer.alloc(1000)), zpacked, skippable(Buffer.alloc(9), 0x5f)]),
    want: tree,
  },
  {
    name: "a skippable frame of 4 GiB",
    as: "zstd",
    bytes: Buffer.concat([Buffer.from("502a4d18ffffffff", "hex"), zpacked]),
    want: "zstd-corrupt",
    twin: Buffer.concat([skippable(Buffer.alloc(0)), zpacked]),
  },
  {
    name: "two frames",
    as: "zstd",
    bytes: Buffer.concat([zstd(archive.subarray(0, half)), zstd(archive.subarray(half))]),
    want: tree,
  },
  {
    name: "garbage behind the end",
    as: "zstd",
    bytes: Buffer.concat([zpacked, Buffer.from("garbage!")]),
    want: "zstd-corrupt",
    twin: Buffer.concat([zpacked, skippable(Buffer.from("garbage!"))]),
  },
  {
    name: "a dictionary that nobody has",
    as: "zstd",
    bytes: changed(zpacked, 4, (zpacked[4] as number) | 1),
    want: "zstd-corrupt",
    twin: zpacked,
  },
  ...[1, 4, 6, zpacked.length >> 1, zpacked.length - 1].map(
    (length): Row => ({
      name: `cut behind byte ${length}`,
      as: "zstd",
      bytes: zpacked.subarray(0, length),
      want: "zstd-corrupt",
      twin: zpacked,
    }),
  ),
];

const plain: Row[] = [
  { name: "gzip that says it is plain", as: "none", bytes: packed, want: "tar-truncated", twin: archive },
  {
    name: "much gzip that says it is plain",
    as: "none",
    bytes: gzipSync(Buffer.alloc(2 ** 20)),
    want: "tar-bad-checksum",
    twin: archive,
  },
  { name: "zstd that says it is plain", as: "none", bytes: zpacked, want: "tar-truncated", twin: archive },
  {
    name: "another archive than the diff ID's",
    as: "none",
    bytes: tar(file("evil", "evil")),
    want: "diff-id-mismatch",
    twin: archive,
  },
  {
    name: "one byte more behind the end",
    as: "none",
    bytes: Buffer.concat([archive, Buffer.from("x")]),
    want: "diff-id-mismatch",
    twin: Buffer.concat([archive, Buffer.from("x")]),
    twinOf: Buffer.concat([archive, Buffer.from("x")]),
  },
  {
    name: "a diff ID of the compressed bytes",
    bytes: packed,
    diffId: sha256(packed),
    want: "diff-id-mismatch",
    twin: packed,
  },
  {
    name: "a diff ID of zeros",
    bytes: packed,
    diffId: `sha256:${"0".repeat(64)}`,
    want: "diff-id-mismatch",
    twin: packed,
  },
  {
    name: "a diff ID of SHA-512's length that is none",
    bytes: packed,
    diffId: `sha512:${"0".repeat(128)}`,
    want: "diff-id-mismatch",
    twin: packed,
  },
];

/** 256 MiB of zeros in a file of 256 KiB (gzip) or 10 KiB (zstd); with the bound that the row sets. */
const bombBytes = 2 ** 28;
const bombTar = [header({ name: "zeros", size: bombBytes }), Buffer.alloc(bombBytes)] as const;
const bomb = Buffer.concat(bombTar);
const zeros = tar(header({ name: "zeros", size: 2 ** 26 - 1024 }), new Uint8Array(2 ** 26 - 1024));
const limits = { maxTarBytes: 2 ** 24 };
const stack = (bytes: Uint8Array, times: number) => Buffer.concat(Array.from({ length: times }, () => bytes));
const megabyte = gzipSync(Buffer.alloc(2 ** 20), { level: 9 });
/** Within the bound; what is behind the end of an archive is nothing. */
const padded = Buffer.concat([archive, Buffer.alloc(2 ** 23)]);
const bombs: Row[] = [
  {
    name: "gzip, of 256 MiB",
    bytes: gzipSync(bomb, { level: 9 }),
    want: "decompressed-too-large",
    twin: gzipSync(padded, { level: 9 }),
    twinOf: padded,
    limits,
    caps: { diskBytes: 2 ** 25 },
  },
  {
    name: "zstd, of 256 MiB",
    as: "zstd",
    bytes: zstd(bomb, "-19", "--ultra"),
    want: "decompressed-too-large",
    twin: zstd(padded, "-19", "--ultra"),
    twinOf: padded,
    limits,
    caps: { diskBytes: 2 ** 25 },
  },
  {
    name: "gzip, of 256 members of a MiB",
    bytes: Buffer.concat([gzipSync(bombTar[0]), stack(megabyte, 256)]),
    want: "decompressed-too-large",
    twin: Buffer.concat([packed, stack(megabyte, 8)]),
    twinOf: padded,
    limits,
    caps: { diskBytes: 2 ** 25 },
  },
  {
    name: "zstd, of frames in frames that say nothing of their size",
    as: "zstd",
    bytes: stack(zstd(Buffer.alloc(2 ** 22), "-19"), 64),
    want: "decompressed-too-large",
    twin: Buffer.concat([zpacked, stack(zstd(Buffer.alloc(512)), 4)]),
    twinOf: Buffer.concat([archive, Buffer.alloc(2048)]),
    limits: { maxTarBytes: 2 ** 12 },
  },
  {
    name: "gzip, of 64 MiB of zeros that are allowed: they cost no disk",
    bytes: gzipSync(zeros, { level: 9 }),
    diffId: sha256(zeros),
    want: [`zeros file ${2 ** 26 - 1024} ${sha256(new Uint8Array(2 ** 26 - 1024)).slice(7, 15)} 644 0:0 @0`],
    caps: { diskBytes: 2 ** 21, memoryBytes: 2 ** 28 },
  },
  {
    name: "more entries than are allowed",
    bytes: gzipSync(tar(...Array.from({ length: 2000 }, (_, i) => file(`f${i}`, "")))),
    want: "layer-too-large",
    twin: packed,
    limits: { maxEntries: 1000 },
  },
  {
    name: "more names and small files than are allowed",
    bytes: gzipSync(tar(...Array.from({ length: 2000 }, (_, i) => file(`f${i}`, "x".repeat(1000))))),
    want: "layer-too-large",
    twin: packed,
    limits: { maxHeapBytes: 2 ** 20 },
  },
  {
    name: "a file larger than is allowed",
    bytes: gzipSync(header({ name: "f", size: 2 ** 30 })),
    want: "layer-too-large",
    twin: packed,
    limits: { maxBlobBytes: 2 ** 24 },
  },
];

function blobOf({ bytes, as = "gzip", diffId = sha256(archive) }: Omit<Bytes, "name">): Blob {
  return { mediaType: as === "none" ? LAYER : `${LAYER}+${as}`, bytes, diffId };
}

/** A flipped bit is found by whoever sees it first. */
const CORRUPT = /^(?:gzip-|zstd-|tar-|diff-id)/;

const isRefused = (row: Row): row is Refused => typeof row.want === "string";
describe.each(Object.entries({ gzip, zstd: zst, "what is inside": plain, bombs }))("%s", (_, rows) => {
  test.each(rows)("$name", async (row) => {
    const got = essenceOf(await judge([blobOf(row)], row));
    const isCorrupt = row.want === "corrupt" && "code" in got && CORRUPT.test(got.code);
    const wanted = typeof row.want === "string" ? { code: row.want } : { tree: row.want };
    expect(isCorrupt ? { code: "corrupt" } : got).toEqual(wanted);
  });
  test.each(rows.filter(isRefused))(
    "benign: $name",
    async ({ as = "gzip", limits, twin, twinOf = archive }) => {
      const blob = blobOf({ bytes: twin, as, diffId: sha256(twinOf) });
      expect(await judge([blob], { limits, caps: { diskBytes: 2 ** 25 } })).toEqual({ tree });
    },
  );
});
