/** Sparse files: maps that overlap, lead beyond the end, or claim more than any disk has. */
import { base256, gnuSparse, header, pax } from "../../../support/tar-builder.ts";
import { file, fileLine, tar } from "../row.ts";
import type { LayerRow } from "../row.ts";

const zeros = (size: number) => Buffer.alloc(size);
const sparseTwin = [tar(gnuSparse("s", 8192, [[4096, 512]], Buffer.alloc(512, "x")))];
const dense = Buffer.concat([zeros(4096), Buffer.alloc(512, "x"), zeros(3584)]);
const gnu = (
  name: string,
  realSize: number,
  map: readonly (readonly [number, number])[],
  dataBytes: number,
): LayerRow => ({
  name: `GNU: ${name}`,
  layers: [tar(gnuSparse("s", realSize, map, Buffer.alloc(dataBytes, "x")), file("behind"))],
  want: { code: "tar-bad-sparse" },
  twin: [tar(file("s", dense))],
});
const inPax = (name: string, records: Record<string, string>, data = Buffer.alloc(512, "x")): LayerRow => ({
  name: `PAX: ${name}`,
  layers: [tar(pax(records), file("s", data))],
  want: { code: "tar-bad-sparse" },
  twin: [tar(file("s", dense))],
});
const textMap = (name: string, lines: string, realSize = "8192", code = "tar-bad-sparse"): LayerRow => ({
  name: `PAX 1.0: ${name}`,
  layers: [
    tar(
      pax({
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "s",
        "GNU.sparse.realsize": realSize,
      }),
      file("x", Buffer.concat([Buffer.from(lines.padEnd(512, "\0")), Buffer.alloc(512, "x")])),
    ),
  ],
  want: { code },
  twin: [
    tar(
      pax({
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "s",
        "GNU.sparse.realsize": "8192",
      }),
      file("x", Buffer.concat([Buffer.from("1\n4096\n512\n".padEnd(512, "\0")), Buffer.alloc(512, "x")])),
    ),
  ],
});

export const sparse: readonly LayerRow[] = [
  {
    name: "GNU: a file as it should be, though umoci takes none",
    layers: sparseTwin,
    want: [fileLine("s", dense)],
    twin: [tar(file("s", dense))],
  },
  gnu(
    "runs that overlap",
    8192,
    [
      [0, 512],
      [256, 512],
    ],
    1024,
  ),
  gnu(
    "runs out of order",
    8192,
    [
      [4096, 512],
      [0, 512],
    ],
    1024,
  ),
  gnu(
    "the same run twice",
    8192,
    [
      [0, 512],
      [0, 512],
    ],
    1024,
  ),
  gnu("a run beyond the end", 4096, [[4096, 512]], 512),
  gnu("a run that ends beyond the end", 4096, [[3800, 512]], 512),
  gnu(
    "fewer bytes than the map has",
    8192,
    [
      [0, 512],
      [4096, 512],
    ],
    512,
  ),
  gnu("more bytes than the map has", 8192, [[0, 512]], 1024),
  gnu("a map without data over data", 8192, [], 512),
  gnu("2 TiB", 2 ** 33 - 1, [[0, 1024]], 512),
  {
    name: "GNU: 8 EiB",
    layers: [
      tar(header({ name: "s", type: "S", magic: "ustar  \0", patches: [[483, base256(2n ** 63n - 1n)]] })),
    ],
    want: { code: "tar-bad-number" },
    twin: sparseTwin.length > 0 ? [tar(file("s", dense))] : [],
  },
  {
    name: "GNU: 4 PiB, which a number can hold",
    layers: [tar(header({ name: "s", type: "S", magic: "ustar  \0", patches: [[483, base256(2n ** 52n)]] }))],
    want: { code: "tar-bad-sparse" },
    twin: [tar(file("s", dense))],
  },
  {
    name: "GNU: a negative size",
    layers: [tar(header({ name: "s", type: "S", magic: "ustar  \0", patches: [[483, base256(-1n)]] }))],
    want: { code: "tar-bad-number" },
    twin: [tar(file("s", dense))],
  },
  {
    name: "GNU: a negative offset in the map",
    layers: [
      tar(
        header({
          name: "s",
          type: "S",
          magic: "ustar  \0",
          patches: [
            [386, base256(-512n)],
            [398, "00000001000\0"],
            [483, "00000020000\0"],
          ],
        }),
      ),
    ],
    want: { code: "tar-bad-sparse" },
    twin: [tar(file("s", dense))],
  },
  {
    name: "GNU: extension blocks without an end",
    layers: [
      Buffer.concat([
        header({
          name: "s",
          type: "S",
          magic: "ustar  \0",
          patches: [
            [482, "\x01"],
            [483, "00000020000\0"],
          ],
        }),
        ...Array.from({ length: 100 }, () => {
          const block = Buffer.alloc(512);
          block[504] = 1;
          return block;
        }),
      ]),
    ],
    want: { code: "tar-truncated" },
    twin: [tar(file("s", dense))],
  },
  {
    name: "GNU: a map of 300,000 runs",
    layers: [
      tar(
        gnuSparse(
          "s",
          2 ** 32,
          Array.from({ length: 300_000 }, (_, i) => [i * 1024, 0] as const),
          Buffer.alloc(0),
        ),
      ),
    ],
    want: { code: "tar-bad-sparse" },
    twin: [tar(file("s", dense))],
  },
  inPax("0.1: an odd number of numbers", { "GNU.sparse.size": "8192", "GNU.sparse.map": "0,512,1024" }),
  inPax("0.1: overlap", { "GNU.sparse.size": "8192", "GNU.sparse.map": "0,300,200,212" }),
  inPax("0.1: another count than announced", {
    "GNU.sparse.size": "8192",
    "GNU.sparse.numblocks": "2",
    "GNU.sparse.map": "0,512",
  }),
  inPax("0.1: no size", { "GNU.sparse.map": "0,512" }),
  inPax("0.1: 1 EiB", { "GNU.sparse.size": String(2 ** 52), "GNU.sparse.map": "0,512" }),
  {
    ...inPax("0.1: letters in the map", { "GNU.sparse.size": "8192", "GNU.sparse.map": "0,x" }),
    want: { code: "tar-bad-pax" },
  },
  {
    ...inPax("0.1: 8 EiB", { "GNU.sparse.size": "9223372036854775807", "GNU.sparse.map": "0,512" }),
    want: { code: "tar-bad-pax" },
  },
  {
    ...inPax("0.0: lengths without offsets", { "GNU.sparse.size": "8192", "GNU.sparse.numbytes": "512" }),
    want: { code: "tar-bad-pax" },
  },
  inPax("an unknown version", {
    "GNU.sparse.major": "2",
    "GNU.sparse.minor": "7",
    "GNU.sparse.realsize": "8192",
  }),
  textMap("letters", "1\nx\n512\n"),
  textMap("a number without end", "9".repeat(512)),
  textMap("an empty line", "\n\n"),
  textMap("more runs than are allowed", "99999999\n"),
  textMap("overlap", "2\n0\n256\n128\n256\n"),
  textMap("beyond the end", "1\n8192\n512\n"),
  textMap("incomplete", `3\n0\n1\n${"0".repeat(400)}`),
  textMap("2 TiB", "1\n0\n512\n", String(2 ** 41)),
  textMap("a name that leads out", "1\n4096\n512\n", "8192x", "tar-bad-pax"),
];
