import { spawnSync } from "node:child_process";
import {
  mkdtempSync,
  rmSync,
  writeFileSync,
  mkdirSync,
  symlinkSync,
  linkSync,
  openSync,
  writeSync,
  closeSync,
  ftruncateSync,
  utimesSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  archive,
  base256,
  END,
  entry,
  gnuSparse,
  header,
  pax,
  paxRaw,
  paxRecord,
} from "../support/tar-builder.ts";
import { collect, contentOf } from "../support/tar-entries.ts";

function only(bytes: Uint8Array, options = {}) {
  const entries = collect(bytes, undefined, options);
  expect(entries).toHaveLength(1);
  return entries[0] as (typeof entries)[number];
}

const long = "d/".repeat(120) + "name";

describe("names", () => {
  const rows: [string, Uint8Array, string][] = [
    ["plain", entry({ name: "a/b" }), "a/b"],
    ["100 bytes without a NUL", entry({ name: "n".repeat(100) }), "n".repeat(100)],
    ["ustar prefix", entry({ name: "b", prefix: "a" }), "a/b"],
    ["no prefix in GNU's variant", entry({ name: "b", magic: "ustar  \0", prefix: "12345" }), "b"],
    ["no prefix in v7", entry({ name: "b", magic: "\0\0\0\0\0\0\0\0", prefix: "junk" }), "b"],
    [
      "star's shorter prefix",
      entry({
        name: "b",
        prefix: "a",
        patches: [
          [508, "tar\0"],
          [476, "12345"],
        ],
      }),
      "a/b",
    ],
    ["GNU long name", Buffer.concat([entry({ type: "L" }, `${long}\0`), entry({ name: "cut" })]), long],
    [
      "GNU long name without its NUL",
      Buffer.concat([entry({ type: "L" }, long), entry({ name: "cut" })]),
      long,
    ],
    ["PAX path", Buffer.concat([pax({ path: long }), entry({ name: "cut" })]), long],
    [
      "PAX path beats the ustar prefix",
      Buffer.concat([pax({ path: "p" }), entry({ name: "b", prefix: "a" })]),
      "p",
    ],
    ["empty PAX path keeps the header's", Buffer.concat([pax({ path: "" }), entry({ name: "b" })]), "b"],
    [
      "a second PAX header replaces the first",
      Buffer.concat([pax({ path: "p" }), pax({ uid: "1" }), entry({ name: "b" })]),
      "b",
    ],
    [
      "GNU long name beats PAX",
      Buffer.concat([pax({ path: "p" }), entry({ type: "L" }, "l\0"), entry({ name: "b" })]),
      "l",
    ],
    ["bytes that are no UTF-8", entry({ name: Buffer.from([0x61, 0xff, 0xfe]) }), "a\xff\xfe"],
    ["bytes that are no UTF-8 in PAX", Buffer.concat([pax({ path: "\xff\x80" }), entry({})]), "\xff\x80"],
    ["newline in PAX", Buffer.concat([pax({ path: "a\nb" }), entry({})]), "a\nb"],
    ["equals sign in PAX", Buffer.concat([pax({ path: "a=b" }), entry({})]), "a=b"],
  ];
  it.each(rows)("%s", (_, bytes, name) => {
    expect(only(archive(bytes)).name).toBe(name);
  });

  it("reads link names from header, K and PAX", () => {
    const bytes = archive(
      entry({ type: "2", linkName: "t1" }),
      entry({ type: "K" }, `${long}\0`),
      entry({ type: "1", linkName: "cut" }),
      pax({ linkpath: "t3" }),
      entry({ type: "2", linkName: "cut" }),
    );
    expect(collect(bytes).map((e) => [e.entry.type, e.linkName])).toEqual([
      ["symlink", "t1"],
      ["hardlink", long],
      ["symlink", "t3"],
    ]);
  });
});

describe("metadata", () => {
  const rows: [string, Uint8Array, object][] = [
    [
      "octal",
      entry({ mode: 0o4755, uid: 1000, gid: 7, mtime: 99 }),
      { mode: 0o4755, uid: 1000, gid: 7, mtimeSeconds: 99 },
    ],
    ["base-256 owner", entry({ patches: [[108, base256(3_000_000n, 8)]] }), { uid: 3_000_000 }],
    [
      "negative base-256 mtime",
      entry({ patches: [[136, base256(-5n)]] }),
      { mtimeSeconds: -5, mtimeNanoseconds: 0 },
    ],
    ["blank mtime", entry({ patches: [[136, " ".repeat(12)]] }), { mtimeSeconds: 0 }],
    ["leading spaces", entry({ patches: [[108, "   755 \0"]] }), { uid: 0o755 }],
    ["PAX owner", Buffer.concat([pax({ uid: "4000000", gid: "5" }), entry({})]), { uid: 4_000_000, gid: 5 }],
    [
      "PAX mtime with a fraction",
      Buffer.concat([pax({ mtime: "12.5" }), entry({})]),
      { mtimeSeconds: 12, mtimeNanoseconds: 500_000_000 },
    ],
    [
      "PAX mtime, negative",
      Buffer.concat([pax({ mtime: "-1.5" }), entry({})]),
      { mtimeSeconds: -2, mtimeNanoseconds: 500_000_000 },
    ],
    [
      "PAX mtime, negative and whole",
      Buffer.concat([pax({ mtime: "-3" }), entry({})]),
      { mtimeSeconds: -3, mtimeNanoseconds: 0 },
    ],
    [
      "PAX mtime, minus zero",
      Buffer.concat([pax({ mtime: "-0" }), entry({})]),
      { mtimeSeconds: 0, mtimeNanoseconds: 0 },
    ],
    [
      "PAX mtime, digits behind the ninth",
      Buffer.concat([pax({ mtime: "1.0000000019" }), entry({})]),
      { mtimeSeconds: 1, mtimeNanoseconds: 1 },
    ],
    [
      "device",
      entry({ type: "3", devMajor: 5, devMinor: 1 }),
      { type: "character", devMajor: 5, devMinor: 1 },
    ],
    ["block device", entry({ type: "4", devMajor: 8 }), { type: "block", devMajor: 8 }],
    ["fifo", entry({ type: "6" }), { type: "fifo" }],
    ["contiguous file", entry({ type: "7" }, "x"), { type: "file", sizeBytes: 1 }],
    ["old file type", entry({ type: "\0" }, "x"), { type: "file", sizeBytes: 1 }],
    ["old directory", entry({ name: "d/", type: "\0" }), { type: "directory", sizeBytes: 0 }],
    [
      "a size on a directory means nothing",
      header({ name: "d/", type: "5", size: 4096 }),
      { type: "directory", sizeBytes: 0, storedBytes: 0 },
    ],
    [
      "a size on a link means nothing",
      header({ type: "1", linkName: "x", size: 4096 }),
      { type: "hardlink", sizeBytes: 0 },
    ],
    ["signed checksum", signedChecksum(), { type: "file" }],
  ];
  it.each(rows)("%s", (_, bytes, wanted) => {
    expect(only(archive(bytes)).entry).toMatchObject(wanted);
  });

  it("takes the size from PAX, and not for a long name in between", () => {
    const bytes = archive(
      pax({ size: "5" }),
      entry({ type: "L" }, "the-name\0"),
      header({ name: "cut", size: 0 }),
      padding("hello"),
      entry({ name: "next" }),
    );
    const [first, second] = collect(bytes);
    expect([first?.name, first && contentOf(first).toString(), second?.name]).toEqual([
      "the-name",
      "hello",
      "next",
    ]);
  });

  it("drops a PAX header's values behind its entry", () => {
    const bytes = archive(pax({ uid: "9", "SCHILY.xattr.user.a": "1" }), entry({}), entry({}));
    expect(collect(bytes).map((e) => [e.entry.uid, e.entry.xattrs.length])).toEqual([
      [9, 1],
      [0, 0],
    ]);
  });

  it("applies global headers only when asked to", () => {
    const bytes = archive(
      pax({ uid: "9", comment: "x" }, "g"),
      entry({}),
      pax({ gid: "3" }),
      entry({}),
      pax({ uid: "" }),
      entry({ uid: 1 }),
    );
    expect(collect(bytes).map((e) => e.entry.uid)).toEqual([0, 0, 1]);
    expect(collect(bytes, undefined, { applyGlobalHeaders: true }).map((e) => e.entry.uid)).toEqual([
      9, 9, 1,
    ]);
  });

  it("reads xattrs as bytes, from SCHILY, LIBARCHIVE and ACL records", () => {
    const acl = "user::rwx,user:1000:r-x,group::r--,mask::rwx,other::---";
    const bytes = archive(
      pax({
        "SCHILY.xattr.security.capability": "\x01\x00\xff\n=",
        "LIBARCHIVE.xattr.user.a%20b": "aGk",
        "SCHILY.acl.access": acl,
        "SCHILY.acl.default": "user:daemon:rwx",
      }),
      entry({}),
    );
    const { entry: read } = only(bytes);
    expect(
      read.xattrs.map((x) => [Buffer.from(x.name).toString(), Buffer.from(x.value).toString("hex")]),
    ).toEqual([
      ["security.capability", "0100ff0a3d"],
      ["user.a b", "6869"],
      [
        "system.posix_acl_access",
        "0200000001000700ffffffff02000500e803000004000400ffffffff10000700ffffffff20000000ffffffff",
      ],
    ]);
    expect(read.droppedAcls).toBe(1);
  });
});

function signedChecksum(): Buffer {
  const block = header({ name: Buffer.from([0xe9, 0xe8]) });
  block.fill(0x20, 148, 156);
  const sum = block.reduce((s, byte) => s + (byte > 127 ? byte - 256 : byte), 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function padding(data: string): Buffer {
  return Buffer.concat([Buffer.from(data), Buffer.alloc(512 - data.length)]);
}

// --- sparse files -------------------------------------------------------------------------------------------

const AB = Buffer.concat([Buffer.alloc(512, "A"), Buffer.alloc(100, "B")]);
const SPARSE_MAP: [number, number][] = [
  [4096, 512],
  [10_000, 100],
];

function pax10(map: string, data: Uint8Array, records: Record<string, string> = {}): Buffer {
  const body = Buffer.concat([padding(map), data]);
  return Buffer.concat([
    pax({
      "GNU.sparse.major": "1",
      "GNU.sparse.minor": "0",
      "GNU.sparse.name": "s",
      "GNU.sparse.realsize": "20000",
      ...records,
    }),
    entry({ name: "GNUSparseFile.1/s" }, body),
  ]);
}

function pax00(): Buffer {
  const records = [
    ["size", "20000"],
    ["numblocks", "2"],
    ["offset", "4096"],
    ["numbytes", "512"],
    ["offset", "10000"],
    ["numbytes", "100"],
  ];
  const body = Buffer.concat(records.map(([key, value]) => paxRecord(`GNU.sparse.${key}`, value as string)));
  return Buffer.concat([paxRaw(body), entry({ name: "s" }, AB)]);
}

const pax01 = (map: string, records: Record<string, string> = {}): Buffer =>
  Buffer.concat([
    pax({ "GNU.sparse.size": "20000", "GNU.sparse.map": map, "GNU.sparse.name": "s", ...records }),
    entry({}, AB),
  ]);

describe("sparse files", () => {
  const expected = Buffer.alloc(20_000);
  expected.fill("A", 4096, 4608).fill("B", 10_000, 10_100);
  const rows: [string, Uint8Array][] = [
    ["old GNU", gnuSparse("s", 20_000, SPARSE_MAP, AB)],
    ["old GNU with the empty run that ends it", gnuSparse("s", 20_000, [...SPARSE_MAP, [20_000, 0]], AB)],
    ["PAX 0.0", pax00()],
    ["PAX 0.1", pax01("4096,512,10000,100", { "GNU.sparse.numblocks": "2" })],
    ["PAX 1.0", pax10("2\n4096\n512\n10000\n100\n", AB)],
  ];
  it.each(rows)("%s", (_, bytes) => {
    for (const size of [1, 7, 512, 100_000]) {
      const [read, next] = collect(archive(bytes, entry({ name: "next" })), [size]);
      expect(read?.name).toBe("s");
      expect(read?.runs.map((r) => [r.position, r.data.length])).toEqual(SPARSE_MAP);
      expect(read && contentOf(read).equals(expected)).toBe(true);
      expect(next?.name).toBe("next");
    }
  });

  it("old GNU with extension blocks", () => {
    const map = Array.from({ length: 60 }, (_, i): [number, number] => [i * 1024, 512]);
    const data = Buffer.concat(map.map((_, i) => Buffer.alloc(512, i + 1)));
    const [read] = collect(archive(gnuSparse("s", 70_000, map, data)), [600]);
    expect(read?.runs.map((r) => [r.position, r.data[0]])).toEqual(map.map(([at], i) => [at, i + 1]));
  });

  it("nothing but a hole", () => {
    const { entry: read, runs } = only(archive(gnuSparse("s", 20_000, [[20_000, 0]], Buffer.alloc(0))));
    expect([read.sizeBytes, read.segments, runs]).toEqual([20_000, [], []]);
  });
});

// --- what is wrong ------------------------------------------------------------------------------------------

describe("malformed archives", () => {
  const good = entry({ name: "good" }, "data");
  const patched = (at: number, bytes: string | Uint8Array): Buffer =>
    entry({ name: "bad", patches: [[at, bytes]] });
  const rows: [string, Uint8Array, string][] = [
    ["not a tar archive", Buffer.alloc(2048, "text"), "tar-bad-checksum"],
    ["half a header", good.subarray(0, 100), "tar-truncated"],
    ["half the data", good.subarray(0, 514), "tar-truncated"],
    ["half an extension", pax({ path: "x" }).subarray(0, 515), "tar-truncated"],
    ["an extension and no entry", pax({ path: "x" }), "tar-truncated"],
    ["half an extension's padding", pax({ path: "x" }).subarray(0, 700), "tar-truncated"],
    ["flipped bit in a header", flipped(archive(good), 3), "tar-bad-checksum"],
    [
      "an entry behind one zero block",
      Buffer.concat([good, Buffer.alloc(512), good, END]),
      "tar-lone-zero-block",
    ],
    ["letters in the size", archive(patched(124, "12x45678901\0")), "tar-bad-number"],
    ["digit 8 in an octal number", archive(patched(124, "00000000008\0")), "tar-bad-number"],
    ["something behind the space of a number", archive(patched(124, "0000 000001\0")), "tar-bad-number"],
    ["negative size", archive(patched(124, base256(-1n))), "tar-bad-number"],
    ["size beyond 2^53", archive(patched(124, base256(2n ** 53n))), "tar-bad-number"],
    ["size of 2^94", archive(patched(124, base256(2n ** 94n))), "tar-bad-number"],
    ["negative owner", archive(patched(108, base256(-1n, 8))), "tar-bad-number"],
    ["mtime out of range", archive(patched(136, base256(2n ** 60n))), "tar-bad-number"],
    ["device number in letters", archive(entry({ type: "3", patches: [[329, "abc"]] })), "tar-bad-number"],
    ["unknown type", archive(entry({ type: "Z" }, "data")), "tar-unknown-type"],
    ["volume label", archive(entry({ type: "V" })), "tar-unknown-type"],
    ["GNU dump directory", archive(entry({ type: "D" }, "data")), "tar-unknown-type"],
    ["PAX record without a length", archive(paxRaw("path=x\n"), good), "tar-bad-pax"],
    ["PAX length 0", archive(paxRaw("0 path=x\n"), good), "tar-bad-pax"],
    ["PAX length too short for a record", archive(paxRaw("4 a=\n"), good), "tar-bad-pax"],
    ["PAX length beyond the header", archive(paxRaw("99 path=x\n"), good), "tar-bad-pax"],
    ["PAX length that cuts the record", archive(paxRaw("8 path=xyz\n"), good), "tar-bad-pax"],
    ["PAX length of 20 digits", archive(paxRaw("00000000000000000010 a=bcd\n"), good), "tar-bad-pax"],
    ["PAX length negative", archive(paxRaw("-9 path=x\n"), good), "tar-bad-pax"],
    ["PAX record without an equals sign", archive(paxRaw("9 pathxx\n"), good), "tar-bad-pax"],
    ["PAX record without a key", archive(paxRaw("6 =ab\n"), good), "tar-bad-pax"],
    ["PAX record without a newline", archive(paxRaw("10 path=xy"), good), "tar-bad-pax"],
    ["PAX zero bytes behind the records", archive(paxRaw("9 path=x\n\0\0\0"), good), "tar-bad-pax"],
    ["PAX path with a NUL", archive(pax({ path: "a\0b" }), good), "tar-bad-pax"],
    ["PAX linkpath with a NUL", archive(pax({ linkpath: "a\0b" }), good), "tar-bad-pax"],
    ["PAX size negative", archive(pax({ size: "-1" }), good), "tar-bad-pax"],
    ["PAX size beyond 2^53", archive(pax({ size: "9007199254740993" }), good), "tar-bad-pax"],
    ["PAX size of a hundred digits", archive(pax({ size: "1".repeat(100) }), good), "tar-bad-pax"],
    ["PAX size in hexadecimal", archive(pax({ size: "0x10" }), good), "tar-bad-pax"],
    ["PAX uid with a sign", archive(pax({ uid: "+1" }), good), "tar-bad-pax"],
    ["PAX mtime not a number", archive(pax({ mtime: "yesterday" }), good), "tar-bad-pax"],
    ["PAX mtime out of range", archive(pax({ mtime: "9".repeat(16) }), good), "tar-bad-pax"],
    ["xattr without a name", archive(pax({ "SCHILY.xattr.": "x" }), good), "tar-bad-pax"],
    ["xattr that is not base64", archive(pax({ "LIBARCHIVE.xattr.user.a": "?" }), good), "tar-bad-pax"],
    ["global header malformed", archive(paxRaw("zz", "g"), good), "tar-bad-pax"],
    ["PAX header of 1 GiB", archive(header({ type: "x", size: 2 ** 30 })), "tar-extension-too-large"],
    ["long name of 8 GiB", archive(header({ type: "L", size: 8 * 2 ** 30 - 1 })), "tar-extension-too-large"],
    [
      "global headers that add up",
      archive(...Array.from({ length: 3 }, () => pax({ comment: "x".repeat(500_000) }, "g"))),
      "tar-extension-too-large",
    ],
    ["long name of 5,000 bytes", archive(entry({ type: "L" }, "x".repeat(5000)), good), "tar-name-too-long"],
    ["PAX path of 5,000 bytes", archive(pax({ path: "x".repeat(5000) }), good), "tar-name-too-long"],
    [
      "PAX linkpath of 5,000 bytes",
      archive(pax({ linkpath: "x".repeat(5000) }), entry({ type: "2" })),
      "tar-name-too-long",
    ],
    [
      "sparse runs overlap",
      archive(
        gnuSparse(
          "s",
          20_000,
          [
            [0, 512],
            [500, 100],
          ],
          AB,
        ),
      ),
      "tar-bad-sparse",
    ],
    [
      "sparse runs out of order",
      archive(
        gnuSparse(
          "s",
          20_000,
          [
            [10_000, 512],
            [0, 100],
          ],
          AB,
        ),
      ),
      "tar-bad-sparse",
    ],
    [
      "sparse run beyond the file",
      archive(
        gnuSparse(
          "s",
          600,
          [
            [0, 512],
            [512, 100],
          ],
          AB,
        ),
      ),
      "tar-bad-sparse",
    ],
    [
      "sparse run that overflows",
      archive(
        gnuSparse(
          "s",
          20_000,
          [
            [0, 512],
            [8589934591, 100],
          ],
          AB,
        ),
      ),
      "tar-bad-sparse",
    ],
    ["sparse map has less than is stored", archive(gnuSparse("s", 20_000, [[0, 512]], AB)), "tar-bad-sparse"],
    [
      "sparse map has more than is stored",
      archive(
        gnuSparse(
          "s",
          20_000,
          [
            [0, 512],
            [600, 101],
          ],
          AB,
        ),
      ),
      "tar-bad-sparse",
    ],
    [
      "sparse file of 8 EiB",
      archive(pax01("4096,512,10000,100", { "GNU.sparse.size": "9000000000000000" })),
      "tar-bad-sparse",
    ],
    [
      "sparse file without a size",
      archive(pax01("4096,512,10000,100", { "GNU.sparse.size": "" })),
      "tar-bad-sparse",
    ],
    ["sparse map with an odd number of values", archive(pax01("4096,512,10000")), "tar-bad-sparse"],
    [
      "sparse map with another count",
      archive(pax01("4096,512,10000,100", { "GNU.sparse.numblocks": "3" })),
      "tar-bad-sparse",
    ],
    ["sparse map with an empty value", archive(pax01("4096,,10000,100")), "tar-bad-pax"],
    [
      "sparse format 2.0",
      archive(pax01("4096,512,10000,100", { "GNU.sparse.major": "2" })),
      "tar-bad-sparse",
    ],
    [
      "sparse 0.0 offsets in a row",
      archive(
        paxRaw(Buffer.concat([paxRecord("GNU.sparse.offset", "0"), paxRecord("GNU.sparse.offset", "0")])),
        good,
      ),
      "tar-bad-pax",
    ],
    [
      "sparse 1.0 without its map",
      archive(pax({ "GNU.sparse.major": "1", "GNU.sparse.realsize": "5" }), entry({})),
      "tar-bad-sparse",
    ],
    [
      "sparse 1.0 map that does not end",
      archive(pax10("2\n4096\n512\n10000\n100", Buffer.alloc(0))),
      "tar-bad-sparse",
    ],
    ["sparse 1.0 map with a huge count", archive(pax10("99999999\n", AB)), "tar-bad-sparse"],
    [
      "sparse 1.0 map with a huge number",
      archive(pax10("2\n99999999999999999999999\n", AB)),
      "tar-bad-sparse",
    ],
    ["sparse 1.0 map with letters", archive(pax10("two\n", AB)), "tar-bad-sparse"],
    ["sparse 1.0 map with an empty line", archive(pax10("2\n\n512\n", AB)), "tar-bad-sparse"],
  ];
  it.each(rows)("%s", (_, bytes, code) => {
    for (const size of [bytes.length || 1, 511]) {
      expect(() => collect(bytes, [size])).toThrow(expect.objectContaining({ name: "TarError", code }));
    }
  });

  it("names the entry and the place, harmlessly", () => {
    const bytes = archive(good, entry({ name: "evil\x1b[2J\n", type: "Z" }));
    expect(() => collect(bytes)).toThrow('in entry "evil\\x1b[2J\\x0a" (at byte 1024)');
  });

  it("is truncated wherever it is cut within an entry", () => {
    const members = [
      Buffer.concat([pax({ path: long }), entry({}, Buffer.alloc(3000, 1))]),
      gnuSparse("s", 20_000, SPARSE_MAP, AB),
      pax10("2\n4096\n512\n10000\n100\n", AB),
    ];
    const bytes = archive(...members);
    const end = bytes.length - 1024;
    const boundaries = members.map((_, n) => Buffer.concat(members.slice(0, n)).length).concat(end);
    // Between entries, and within the padding of one.
    const isLetPass = (length: number) => boundaries.some((at) => at >= length && at - length < 512);
    for (let length = 0; length <= end; length += 256) {
      if (isLetPass(length)) continue;
      expect(() => collect(bytes.subarray(0, length)), `cut at ${length}`).toThrow(
        expect.objectContaining({ code: "tar-truncated" }),
      );
    }
    expect(collect(bytes)).toHaveLength(3);
  });
});

describe("the end", () => {
  const good = entry({ name: "good" }, "data");
  const rows: [string, Uint8Array][] = [
    ["two zero blocks", Buffer.concat([good, END])],
    ["no zero block, as some tools write it", good],
    ["not even all of the padding", good.subarray(0, 600)],
    ["one zero block", Buffer.concat([good, END.subarray(512)])],
    ["many zero blocks", Buffer.concat([good, Buffer.alloc(10_240)])],
    ["garbage behind the end", Buffer.concat([good, END, Buffer.from("garbage")])],
    ["another archive behind the end", Buffer.concat([good, END, good, END])],
  ];
  it.each(rows)("%s", (_, bytes) => {
    expect(collect(bytes).map((e) => e.name)).toEqual(["good"]);
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  bytes[at] = (bytes[at] as number) ^ 1;
  return bytes;
}

// --- GNU tar ------------------------------------------------------------------------------------------------

describe("archives of GNU tar", () => {
  let dir = "";
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "flamebox-tar-"));
    const root = join(dir, "root");
    const deep = join(root, "deep".repeat(20), "deeper".repeat(20));
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(root, "small"), "hello");
    writeFileSync(join(root, "exact"), Buffer.alloc(1024, 7));
    writeFileSync(join(deep, "y".repeat(90)), "deep");
    symlinkSync("t".repeat(150), join(root, "symlink"));
    linkSync(join(root, "small"), join(root, "zz-hard"));
    utimesSync(join(root, "small"), 1_000_000_000.25, 1_000_000_000.25);
    const fd = openSync(join(root, "sparse"), "w");
    for (let i = 0; i < 40; i++) writeSync(fd, Buffer.alloc(4096, i + 1), 0, 4096, i * 65_536);
    ftruncateSync(fd, 4_000_000);
    closeSync(fd);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const rows: [string, string[]][] = [
    ["gnu", ["--format=gnu", "--exclude=sparse"]],
    ["pax", ["--format=pax", "--exclude=sparse"]],
    ["gnu sparse", ["--format=gnu", "--sparse"]],
    ["pax sparse 0.0", ["--format=pax", "--sparse", "--sparse-version=0.0"]],
    ["pax sparse 0.1", ["--format=pax", "--sparse", "--sparse-version=0.1"]],
    ["pax sparse 1.0", ["--format=pax", "--sparse", "--sparse-version=1.0"]],
  ];
  it.each(rows)("%s", (_, args) => {
    const made = spawnSync("tar", [...args, "--sort=name", "-cf", "-", "-C", dir, "root"], {
      maxBuffer: 2 ** 26,
    });
    expect(made.status, made.stderr.toString()).toBe(0);
    const entries = new Map(collect(made.stdout, [10_007]).map((e) => [e.name, e]));
    const at = (name: string) => entries.get(name) as NonNullable<ReturnType<typeof entries.get>>;
    expect(contentOf(at("root/small")).toString()).toBe("hello");
    expect(at("root/small").entry.mtimeSeconds).toBe(1_000_000_000);
    const fraction = args[0] === "--format=pax" ? 250_000_000 : 0;
    expect(at("root/small").entry.mtimeNanoseconds).toBe(fraction);
    expect(contentOf(at("root/exact")).equals(Buffer.alloc(1024, 7))).toBe(true);
    expect(at("root/symlink").linkName).toBe("t".repeat(150));
    expect([at("root/zz-hard").entry.type, at("root/zz-hard").linkName]).toEqual(["hardlink", "root/small"]);
    expect(
      contentOf(at(`root/${"deep".repeat(20)}/${"deeper".repeat(20)}/${"y".repeat(90)}`)).toString(),
    ).toBe("deep");
    if (!args.includes("--sparse")) return;
    const sparse = at("root/sparse");
    expect(sparse.entry.storedBytes).toBeLessThan(400_000);
    const expected = Buffer.alloc(4_000_000);
    for (let i = 0; i < 40; i++) expected.fill(i + 1, i * 65_536, i * 65_536 + 4096);
    expect(contentOf(sparse).equals(expected)).toBe(true);
  });

  it("ustar", () => {
    const made = spawnSync("tar", [
      "--format=ustar",
      "-cf",
      "-",
      "-C",
      join(dir, "root"),
      "small",
      "exact",
      "zz-hard",
    ]);
    expect(collect(made.stdout, [333]).map((e) => [e.name, e.entry.type])).toEqual([
      ["small", "file"],
      ["exact", "file"],
      ["zz-hard", "hardlink"],
    ]);
  });
});
