/** Sizes, modes, owners, times and device numbers that are too large, negative, or not what is there. */
import { base256, entry, header, pax } from "../../../support/tar-builder.ts";
import type { HeaderFields } from "../../../support/tar-builder.ts";
import { canary, device, file, fileLine, hardlink, longName, symlink, tar } from "../row.ts";
import type { LayerRow } from "../row.ts";

const SIZE = 124;
const MTIME = 136;
const MODE = 100;
const UID = 108;
const GID = 116;

const patched = (at: number, bytes: string | Uint8Array, fields: HeaderFields = {}): Buffer =>
  header({ name: "f", patches: [[at, bytes]], ...fields });
const benign = [tar(file("f"))];

const bad = (name: string, at: number, bytes: string | Uint8Array, code = "tar-bad-number"): LayerRow => ({
  name,
  layers: [tar(patched(at, bytes))],
  want: { code },
  twin: benign,
});

const sizes: LayerRow[] = [
  bad("base-256: -1", SIZE, base256(-1n)),
  bad("base-256: -512", SIZE, base256(-512n)),
  bad("base-256: 2^53", SIZE, base256(2n ** 53n)),
  bad("base-256: 2^63 - 1", SIZE, base256(2n ** 63n - 1n)),
  bad("base-256: 2^63", SIZE, base256(2n ** 63n)),
  bad("base-256: 2^64", SIZE, base256(2n ** 64n)),
  bad("base-256: all bits", SIZE, Buffer.alloc(12, 0xff)),
  bad("base-256: 4 PiB, which a number can hold", SIZE, base256(2n ** 52n), "layer-too-large"),
  bad("octal: 8 GiB, and nothing there", SIZE, "77777777777\0", "tar-truncated"),
  bad("octal: twelve digits", SIZE, "777777777777", "tar-truncated"),
  bad("octal: a minus sign", SIZE, "-0000000001\0"),
  bad("octal: a plus sign", SIZE, "+0000000001\0"),
  bad("octal: a digit 8", SIZE, "00000000008\0"),
  bad("octal: hexadecimal", SIZE, "0x000000010\0"),
  bad("octal: a space inside", SIZE, "00000 00001\0"),
  {
    name: "octal: blank is zero",
    layers: [tar(patched(SIZE, Buffer.alloc(12, 0x20)))],
    want: "as umoci",
    twin: benign,
  },
  {
    name: "one byte more than there is",
    layers: [entry({ name: "f", size: 513 }, Buffer.alloc(512, "x"))],
    want: { code: "tar-truncated" },
    twin: [tar(entry({ name: "f", size: 512 }, Buffer.alloc(512, "x")))],
  },
  {
    name: "smaller than what follows: the rest is no header",
    layers: [tar(header({ name: "f", size: 512 }), Buffer.alloc(1024, "x"))],
    want: { code: "tar-bad-checksum" },
    twin: [tar(header({ name: "f", size: 1024 }), Buffer.alloc(1024, "x"))],
  },
  {
    name: "a header hidden in the data",
    layers: [tar(file("f", tar(symlink("s", canary), file("s/file", "evil"))))],
    want: "as umoci",
    twin: benign,
  },
  {
    name: "a size of zero over hidden entries: they are entries",
    layers: [tar(header({ name: "f", size: 0 }), file("g", "seen"))],
    want: "as umoci",
    twin: benign,
  },
  ...(["1", "2", "3", "4", "5", "6"] as const).map((type): LayerRow => {
    const name = { 1: "hard link", 2: "symlink", 3: "device", 4: "block device", 5: "directory", 6: "FIFO" }[
      type
    ];
    const special = header({ name: "s", type, linkName: "f", size: 512 });
    return {
      name: `a ${name} with a size: it has no data, as Go reads it`,
      layers: [tar(file("f"), special, file("g", "behind"))],
      want: "as umoci",
      twin: [tar(file("f"), header({ name: "s", type, linkName: "f" }), file("g", "behind"))],
    };
  }),
];

const others: LayerRow[] = [
  bad("mode -1", MODE, base256(-1n, 8)),
  bad("a mode that is no number", MODE, "rw-r--r-"),
  {
    name: "a mode of 31 bits: what Linux knows of it stays",
    layers: [tar(patched(MODE, base256(0x7fff_ffffn, 8)))],
    want: [fileLine("f", "", "7777 0:0 @0")],
    twin: [tar(file("f", "", { mode: 0o4755 }))],
  },
  bad("uid -1", UID, base256(-1n, 8)),
  bad("uid 4294967295", UID, base256(0xffff_ffffn, 8), "layer-bad-owner"),
  bad("uid 4294967296", UID, base256(2n ** 32n, 8), "layer-bad-owner"),
  bad("gid 4294967295", GID, base256(0xffff_ffffn, 8), "layer-bad-owner"),
  bad("gid -2", GID, base256(-2n, 8)),
  bad("uid: letters", UID, "root\0\0\0\0"),
  {
    name: "uid 4294967294: the last that Linux has",
    layers: [tar(patched(UID, base256(0xffff_fffen, 8)))],
    want: "as umoci",
    twin: benign,
  },
  {
    name: "uid 4294967296 by PAX",
    layers: [tar(pax({ uid: "4294967296" }), file("f"))],
    want: { code: "layer-bad-owner" },
    twin: [tar(pax({ uid: "70000" }), file("f"))],
  },
  {
    name: "gid -1 by PAX",
    layers: [tar(pax({ gid: "-1" }), file("f"))],
    want: { code: "tar-bad-pax" },
    twin: [tar(pax({ gid: "70000" }), file("f"))],
  },
  bad("mtime beyond 2^53", MTIME, base256(2n ** 60n)),
  {
    name: "a negative mtime",
    layers: [tar(patched(MTIME, base256(-86_400n)))],
    want: [fileLine("f", "", "644 0:0 @-86400")],
    twin: benign,
  },
  {
    name: "an mtime in the year 200,000",
    layers: [tar(patched(MTIME, base256(6_249_223_180_800n)))],
    want: [fileLine("f", "", "644 0:0 @6249223180800")],
    twin: benign,
  },
  {
    name: "an mtime by PAX that is no number",
    layers: [tar(pax({ mtime: "NaN" }), file("f"))],
    want: { code: "tar-bad-pax" },
    twin: [tar(pax({ mtime: "1234.5" }), file("f"))],
  },
  {
    name: "an mtime by PAX of twenty digits",
    layers: [tar(pax({ mtime: "99999999999999999999" }), file("f"))],
    want: { code: "tar-bad-pax" },
    twin: [tar(pax({ mtime: "-1.5" }), file("f"))],
  },
  {
    name: "a device major beyond Linux's",
    layers: [tar(device("3", "c", 4096, 0))],
    want: { code: "layer-bad-device" },
    twin: [tar(device("3", "c", 4095, 0))],
  },
  {
    name: "a device minor beyond Linux's",
    layers: [tar(device("4", "b", 1, 2 ** 20))],
    want: { code: "layer-bad-device" },
    twin: [tar(device("4", "b", 1, 2 ** 20 - 1))],
  },
  {
    name: "a device with a negative number",
    layers: [tar(header({ name: "c", type: "3", patches: [[329, base256(-1n, 8)]] }))],
    want: { code: "tar-bad-number" },
    twin: [tar(device("3", "c", 1, 3))],
  },
  {
    name: "the host's disk as a device",
    layers: [tar(device("4", "sda", 8, 0))],
    want: "as umoci",
    twin: [tar(device("3", "null", 1, 3))],
  },
  {
    name: "set-id bits and the sticky bit",
    layers: [tar(file("f", "x", { mode: 0o7777 }))],
    want: "as umoci",
    twin: benign,
  },
];

const blocks: LayerRow[] = [
  {
    name: "a wrong checksum",
    layers: [tar(Buffer.from(header({ name: "f" })).fill("1", 148, 149))],
    want: { code: "tar-bad-checksum" },
    twin: benign,
  },
  {
    name: "an unknown type",
    layers: [tar(header({ name: "f", type: "Z" }))],
    want: { code: "tar-unknown-type" },
    twin: benign,
  },
  ...["M", "V", "N", "D"].map(
    (type): LayerRow => ({
      name: `GNU's type ${type}`,
      layers: [tar(header({ name: "f", type, magic: "ustar  \0" }))],
      want: { code: "tar-unknown-type" },
      twin: benign,
    }),
  ),
  {
    name: "a lone block of zeros between entries",
    layers: [tar(file("f"), Buffer.alloc(512), file("g"))],
    want: { code: "tar-lone-zero-block" },
    twin: [tar(file("f"), file("g"))],
  },
  {
    name: "entries behind the end: they are not there",
    layers: [tar(file("f"), Buffer.alloc(1024), symlink("s", canary), file("s/file", "evil"))],
    want: "as umoci",
    twin: [tar(file("f"))],
  },
  {
    name: "garbage behind the end",
    layers: [Buffer.concat([tar(file("f")), Buffer.alloc(5000, "garbage")])],
    want: "as umoci",
    twin: [Buffer.concat([tar(file("f")), Buffer.alloc(8192)])],
  },
  {
    name: "no end blocks, as Docker takes it",
    layers: [file("f")],
    want: "as umoci",
    twin: [tar(file("f"))],
  },
  {
    name: "nothing at all",
    layers: [new Uint8Array(0)],
    want: "as umoci",
    twin: [tar()],
  },
  {
    name: "one block of zeros",
    layers: [Buffer.alloc(512)],
    want: "as umoci",
    twin: [tar()],
  },
  ...[1, 100, 511].map(
    (length): LayerRow => ({
      name: `${length} bytes of a header`,
      layers: [file("f").subarray(0, length)],
      want: { code: "tar-truncated" },
      twin: [tar(file("f"))],
    }),
  ),
  ...(
    [
      ["text", Buffer.from("this is no archive, but a letter. ".repeat(40))],
      ["JSON", Buffer.from(JSON.stringify(Array.from({ length: 500 }, (_, i) => i)))],
      ["a zip file", Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(2000, 7)])],
      ["a program", Buffer.concat([Buffer.from("\x7fELF\x02\x01\x01"), Buffer.alloc(2000, 9)])],
      ["random bytes", Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7919 + (i >> 3)) & 255))],
    ] as const
  ).map(
    ([what, bytes]): LayerRow => ({
      name: `no archive, but ${what}`,
      layers: [bytes],
      want: { code: "tar-bad-checksum" },
      twin: [tar(file("f", bytes))],
    }),
  ),
];

/** Cut at every block: no end blocks are needed, so a cut between two entries is an archive of fewer entries. */
const whole = Buffer.concat([
  file("a", "x".repeat(1500)),
  pax({ path: "b", "SCHILY.xattr.user.x": "y" }),
  file("short", "data"),
  longName("c".repeat(200)),
  symlink("short", "target"),
  hardlink("l", "a"),
  file("d", "last"),
]);
/** Where a whole number of entries ends, with extension headers on their own not being one. */
const entryEnds = new Set([0, 4, 8, 11, 12, 14]);
const cuts = Array.from({ length: whole.length / 512 }, (_, blocks): LayerRow => {
  const isWhole = entryEnds.has(blocks);
  return {
    name: `cut behind block ${blocks}${isWhole ? ", between entries" : ""}`,
    layers: [whole.subarray(0, blocks * 512)],
    want: isWhole ? "as umoci" : { code: "tar-truncated" },
    twin: [tar(whole.subarray(0, 512 * Math.max(...[...entryEnds].filter((end) => end <= blocks))))],
  };
});

const prefixed = (what: string, rows: readonly LayerRow[]) =>
  rows.map((row) => ({ ...row, name: `${what}: ${row.name}` }));

export const numbers: readonly LayerRow[] = [...prefixed("size", sizes), ...others];
export const framing: readonly LayerRow[] = [...blocks, ...cuts];
