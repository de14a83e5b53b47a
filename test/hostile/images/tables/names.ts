/** Names that lead out, or that no file system has. */
import { paxRaw, paxRecord, pax } from "../../../support/tar-builder.ts";
import { base, canary, device, dir, fifo, file, hardlink, longName, symlink, tar } from "../row.ts";
import type { LayerRow } from "../row.ts";

const long = (count: number, name = "n") => name.repeat(count);
const deep = (count: number, part = "p") => Array.from({ length: count }, () => part).join("/");

/** Names that try to leave the root, and the one that they have inside it. */
const escapes: readonly (readonly [what: string, name: string])[] = [
  ["..", "../out"],
  ["many ..", "../../../../../../../../../../out"],
  [".. in the middle", "d/../../out"],
  [".. at the end", "d/sub/.."],
  [".. behind a file", "f/../../out"],
  ["an absolute name", "/out"],
  ["an absolute name of the canary", `${canary}/file`],
  [".. up to the canary", `../../../../../../../..${canary}/file`],
  ["./..", "./../out"],
  ["several slashes", "//..//out"],
  ["/..", "/../out"],
  ["/. and /..", "/./.././out"],
  ["dots that are a name", ".../out"],
  [".. through a directory that is not there", "nowhere/../../out"],
  ["a backslash", "..\\out"],
];

/** `d/sub/..` as a file would be the directory d. */
const isDirectoryName = (name: string) => name.endsWith("/..");

const forms = escapes
  .filter(([, name]) => !isDirectoryName(name))
  .flatMap(([what, name]): LayerRow[] => [
    {
      name: `${what}: a file`,
      layers: [base, tar(longName(name), file("short", "evil"))],
      want: "as umoci",
      twin: [base, tar(file("out", "good"))],
    },
    {
      name: `${what}: a symlink, then a file in it`,
      layers: [
        base,
        tar(longName(name), symlink("short", canary), longName(`${name}/file`), file("short", "evil")),
      ],
      want: "as umoci",
      twin: [base, tar(symlink("out", "d"), file("out/file", "good"))],
    },
  ]);

const kinds: LayerRow[] = [
  {
    name: "..: a directory",
    layers: [base, tar(dir("../out", { mode: 0o777 }), file("../out/file"))],
    want: "as umoci",
    twin: [base, tar(dir("out"), file("out/file"))],
  },
  {
    name: "..: a hard link to the canary",
    layers: [base, tar(hardlink("../out", `../../../../../..${canary}/file`))],
    want: { code: "invalid-layer" },
    twin: [base, tar(hardlink("out", "f"))],
  },
  {
    name: "..: a FIFO",
    layers: [base, tar(fifo("../../out"))],
    want: "as umoci",
    twin: [base, tar(fifo("out"))],
  },
  {
    name: "..: a device",
    layers: [base, tar(device("3", "../../out", 1, 3))],
    want: "as umoci",
    twin: [base, tar(device("3", "out", 1, 3))],
  },
  {
    name: "..: a whiteout of the canary",
    layers: [base, tar(longName(`../../../../../..${canary}/.wh.file`), file("short", ""))],
    want: "as umoci",
    twin: [base, tar(file("d/.wh.f", ""))],
  },
  {
    name: "..: an opaque mark on the canary",
    layers: [base, tar(longName(`../../../../../..${canary}/.wh..wh..opq`), file("short", ""))],
    want: "as umoci",
    twin: [base, tar(file("d/.wh..wh..opq", ""))],
  },
  {
    name: "the root as a symlink",
    layers: [base, tar(symlink("./", canary))],
    want: { code: "layer-root-not-directory" },
    twin: [base, tar(symlink("s", canary))],
  },
  {
    name: "the root as a file",
    layers: [base, tar(file(".", "evil"))],
    want: { code: "layer-root-not-directory" },
    twin: [base, tar(dir("."))],
  },
  {
    name: "the root as a device",
    layers: [base, tar(device("4", "..", 8, 0))],
    want: { code: "layer-root-not-directory" },
    twin: [base, tar(device("4", "sda", 8, 0))],
  },
  {
    name: "an empty name",
    layers: [tar(file("", "evil"))],
    want: { code: "layer-root-not-directory" },
    twin: [tar(file("f"))],
  },
  {
    name: "nothing but slashes",
    layers: [tar(symlink("///", canary))],
    want: { code: "layer-root-not-directory" },
    twin: [tar(dir("//d"))],
  },
];

const spellings: LayerRow[] = [
  {
    name: "NUL in a PAX path",
    layers: [tar(paxRaw(paxRecord("path", "good\0../evil")), file("short"))],
    want: { code: "tar-bad-pax" },
    twin: [tar(pax({ path: "good" }), file("short"))],
  },
  {
    name: "NUL in a PAX link path",
    layers: [tar(file("good"), paxRaw(paxRecord("linkpath", "good\0/evil")), hardlink("l", "x"))],
    want: { code: "tar-bad-pax" },
    twin: [tar(file("good"), pax({ linkpath: "good" }), hardlink("l", "x"))],
  },
  {
    name: "NUL in a GNU long name: the name ends there",
    layers: [tar(longName("good\0/../evil"), file("short"))],
    want: "as umoci",
    twin: [tar(longName("good"), file("short"))],
  },
  {
    name: "newline and escape sequences",
    layers: [tar(file("a\nb"), file("\x1b[2Jc"), file("d\re"))],
    want: "as umoci",
    twin: [tar(file("a b"))],
  },
  {
    name: "bytes that are no UTF-8",
    layers: [tar(file("\xff\xfe"), file("\x80/\xc3("))],
    want: "as umoci",
    twin: [tar(file("\xc3\xa9"))],
  },
  {
    name: "a whiteout's newline in a message",
    layers: [tar(file("\n\x1b]0;evil\x07/.wh.", ""))],
    want: { code: "layer-bad-name" },
    twin: [tar(file("\n/.wh.x", ""))],
  },
  {
    name: "a name of 256 bytes",
    layers: [tar(longName(long(256)), file("short"))],
    want: { code: "layer-bad-name" },
    twin: [tar(longName(long(255)), file("short"))],
  },
  {
    name: "a directory of 256 bytes in a name",
    layers: [tar(longName(`${long(256)}/f`), file("short"))],
    want: { code: "layer-bad-name" },
    twin: [tar(longName(`${long(255)}/f`), file("short"))],
  },
  {
    name: "a hard link's target of 256 bytes",
    layers: [tar(longName(long(256), "K"), hardlink("l", "short"))],
    want: { code: "layer-bad-name" },
    twin: [tar(longName(long(255)), file("short"), longName(long(255), "K"), hardlink("l", "short"))],
  },
  {
    name: "a whiteout of a name of 256 bytes",
    layers: [tar(longName(`.wh.${long(256)}`), file("short", ""))],
    want: { code: "layer-bad-name" },
    twin: [tar(longName(`.wh.${long(250)}`), file("short", ""))],
  },
  {
    name: "a path of 4,097 bytes",
    layers: [tar(longName(deep(2049)), file("short"))],
    want: { code: "tar-name-too-long" },
    twin: [tar(longName(deep(120)), file("short"))],
  },
  {
    name: "a path of 4,097 bytes by PAX",
    layers: [tar(pax({ path: deep(2049) }), file("short"))],
    want: { code: "tar-name-too-long" },
    twin: [tar(pax({ path: deep(120) }), file("short"))],
  },
  {
    name: "a path of 10,000 directories",
    layers: [tar(longName(deep(10_000)), file("short"))],
    want: { code: "tar-name-too-long" },
    twin: [tar(longName(deep(100)), file("short"))],
  },
  {
    name: "a path of 10,000 directories by PAX",
    layers: [tar(pax({ path: deep(10_000) }), file("short"))],
    want: { code: "tar-name-too-long" },
    twin: [tar(pax({ path: deep(100) }), file("short"))],
  },
  {
    name: "10,000 directories in steps, through symlinks",
    layers: [
      tar(
        ...Array.from({ length: 6 }, (_, step) => [
          longName(`${step === 0 ? "" : `s${step}/`}${deep(1900)}/end`),
          dir("short"),
          longName(`${step === 0 ? "" : `/s${step}/`}${deep(1900)}`, "K"),
          symlink(`s${step + 1}`, "short"),
        ]).flat(),
      ),
    ],
    want: { code: "invalid-tree" },
    twin: [tar(longName(`${deep(90)}/end`), dir("short"), longName(deep(90), "K"), symlink("s", "short"))],
  },
  {
    name: "a ustar prefix that climbs out",
    layers: [tar(file("out", "evil", { prefix: "../../.." }))],
    want: "as umoci",
    twin: [tar(file("out", "good", { prefix: "in" }))],
  },
];

export const names: readonly LayerRow[] = [...forms, ...kinds, ...spellings];
