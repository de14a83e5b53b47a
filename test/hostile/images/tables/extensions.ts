/** PAX records and GNU long names, and the attributes in them: what is said before an entry, about it. */
import { base256, header, pax, paxRaw, paxRecord } from "../../../support/tar-builder.ts";
import { base, baseTree, canary, dir, file, fileLine, hardlink, longName, symlink, tar } from "../row.ts";
import type { LayerRow } from "../row.ts";

const benign = [tar(pax({ path: "f" }), file("short"))];
const malformed = (name: string, body: string | Uint8Array): LayerRow => ({
  name,
  layers: [tar(paxRaw(body), file("short"))],
  want: { code: "tar-bad-pax" },
  twin: benign,
});

const lengths: LayerRow[] = [
  malformed("a length that is too large", "99 path=f\n"),
  malformed("a length that is too small", "5 path=f\n"),
  malformed("a length of zero", "0 path=f\n"),
  malformed("a length of one", "1 path=f\n"),
  malformed("a negative length", "-10 path=f\n"),
  malformed("a length of twenty digits", "00000000000000000010 path=f\n"),
  malformed("a length that overflows 64 bits", "99999999999999999999 path=f\n"),
  malformed("a length in hexadecimal", "0xa path=f\n"),
  malformed("a length without a space", "10path=f\n\n"),
  malformed("no length", " path=f\n"),
  malformed("a record without its newline", "10 path=fx"),
  malformed("a record without an equals sign", "10 pathxf\n"),
  malformed("a record without a key", "6 =xx\n"),
  malformed("a key with NUL", "12 pa\0th=fx\n"),
  malformed("a second record that is malformed", Buffer.concat([paxRecord("path", "f"), Buffer.from("7 x")])),
  malformed("NULs instead of records", Buffer.alloc(100)),
  malformed("text instead of records", "this is no PAX header at all"),
];

const values: LayerRow[] = [
  malformed("a negative size", paxRecord("size", "-1")),
  malformed("a size of 2^64", paxRecord("size", "18446744073709551616")),
  malformed("a size with a fraction", paxRecord("size", "1.5")),
  malformed("a size in hexadecimal", paxRecord("size", "0x10")),
  malformed("a uid of letters", paxRecord("uid", "root")),
  malformed("a LIBARCHIVE attribute that is no base64", paxRecord("LIBARCHIVE.xattr.user.x", "***")),
  malformed("a LIBARCHIVE attribute with NUL in its name", paxRecord("LIBARCHIVE.xattr.user.%00", "eA==")),
  malformed("an attribute without a name", paxRecord("SCHILY.xattr.", "x")),
  {
    name: "a size beyond what is there",
    layers: [tar(pax({ size: "99999999" }), file("f"))],
    want: { code: "tar-truncated" },
    twin: [tar(pax({ size: "1" }), file("f"))],
  },
  {
    name: "a size that differs from ustar's: PAX counts",
    layers: [tar(pax({ size: "1024" }), header({ name: "f", size: 512 }), file("hidden"), file("g"))],
    want: "as umoci",
    twin: [tar(pax({ size: "1024" }), header({ name: "f", size: 1024 }), file("hidden"), file("g"))],
  },
  {
    name: "a size of zero over a ustar size: what follows are entries",
    layers: [tar(pax({ size: "0" }), header({ name: "f", size: 1024 }), file("seen"), file("g"))],
    want: "as umoci",
    twin: [tar(pax({ size: "0" }), header({ name: "f" }), file("seen"))],
  },
  {
    name: "a size before a long name: not the long name's own size",
    layers: [tar(pax({ size: "1" }), longName("long"), file("short", "y"), file("g"))],
    want: "as umoci",
    twin: [tar(longName("long"), file("short", "y"), file("g"))],
  },
  {
    name: "a size before a long name that would swallow a header",
    layers: [
      tar(
        pax({ size: "1024" }),
        longName("long"),
        header({ name: "short", size: 0 }),
        file("hidden"),
        file("g"),
      ),
    ],
    want: "as umoci",
    twin: [tar(longName("long"), file("short"), file("g"))],
  },
  {
    name: "a size before another PAX header: replaced",
    layers: [tar(pax({ size: "1024" }), pax({ path: "f" }), file("short", "y"), file("g"))],
    want: "as umoci",
    twin: [tar(pax({ path: "f" }), file("short", "y"))],
  },
  {
    name: "a size on a symlink",
    layers: [tar(pax({ size: "1024" }), symlink("s", "x"), file("g"))],
    want: "as umoci",
    twin: [tar(symlink("s", "x"), file("g"))],
  },
  {
    name: "a path that leads out",
    layers: [base, tar(pax({ path: `../../../../../..${canary}/file` }), file("short", "evil"))],
    want: "as umoci",
    twin: [base, tar(pax({ path: "canary" }), file("short"))],
  },
  {
    name: "a link path that leads to the canary",
    layers: [tar(pax({ linkpath: `${canary}/file` }), hardlink("l", "x"))],
    want: { code: "invalid-layer" },
    twin: [tar(file("f"), pax({ linkpath: "f" }), hardlink("l", "x"))],
  },
  {
    name: "a path that makes a whiteout",
    layers: [base, tar(pax({ path: "d/.wh.f" }), file("innocent", ""))],
    want: "as umoci",
    twin: [base, tar(pax({ path: "d/wh.f" }), file("innocent", ""))],
  },
  {
    name: "a path and a GNU long name",
    layers: [tar(pax({ path: "pax" }), longName("gnu"), file("short"))],
    want: "as umoci",
    twin: [tar(longName("gnu"), file("short"))],
  },
  {
    name: "the same key twice: the last counts",
    layers: [tar(paxRaw(Buffer.concat([paxRecord("path", "a"), paxRecord("path", "b")])), file("short"))],
    want: "as umoci",
    twin: [tar(pax({ path: "b" }), file("short"))],
  },
  {
    name: "a key without a value: as if it were not there",
    layers: [tar(paxRaw(Buffer.concat([paxRecord("path", "a"), paxRecord("path", "")])), file("short"))],
    want: "as umoci",
    twin: [tar(file("short"))],
  },
  {
    name: "keys of JavaScript's own",
    layers: [tar(pax({ __proto__x: "1", constructor: "2", toString: "3", hasOwnProperty: "4" }), file("f"))],
    want: "as umoci",
    twin: benign,
  },
  {
    name: "__proto__ as a key, and as an attribute",
    layers: [
      tar(
        paxRaw(Buffer.concat([paxRecord("__proto__", "1"), paxRecord("SCHILY.xattr.user.__proto__", "2")])),
        file("f"),
      ),
    ],
    want: "as umoci",
    twin: benign,
  },
];

const tooLarge = (name: string, type: string, size: number | bigint): LayerRow => ({
  name,
  layers: [
    tar(header({ name: "x", type, patches: [[124, base256(BigInt(size))]] }), Buffer.alloc(4096, "x")),
  ],
  want: { code: "tar-extension-too-large" },
  twin: [
    tar(type === "L" || type === "K" ? longName("n", type) : pax({ comment: "n" }, type), symlink("s", "t")),
  ],
  ...(type === "g" || type === "X" ? { twinWant: ["s symlink t @0"] } : {}),
});
const bounds: LayerRow[] = [
  tooLarge("records of 1 GiB", "x", 2 ** 30),
  tooLarge("records of 8 TiB", "x", 2 ** 43),
  tooLarge("records of 1 MiB and a byte", "x", 2 ** 20 + 1),
  tooLarge("global records of 1 GiB", "g", 2 ** 30),
  tooLarge("Sun's records of 1 GiB", "X", 2 ** 30),
  tooLarge("a long name of 1 GiB", "L", 2 ** 30),
  tooLarge("a long link of 1 GiB", "K", 2 ** 30),
  {
    name: "global headers of 1 MiB in sum",
    layers: [tar(...Array.from({ length: 3 }, () => pax({ comment: "c".repeat(400_000) }, "g")), file("f"))],
    want: { code: "tar-extension-too-large" },
    twin: [tar(pax({ comment: "c".repeat(4000) }, "g"), file("f"))],
    twinWant: [fileLine("f", "x")],
  },
  {
    name: "a thousand headers before one entry: the last counts",
    layers: [tar(...Array.from({ length: 1000 }, (_, i) => pax({ path: `p${i}` })), file("short"))],
    want: "as umoci",
    twin: [tar(pax({ path: "p999" }), file("short"))],
  },
  {
    name: "headers without an entry",
    layers: [pax({ path: "f" })],
    want: { code: "tar-truncated" },
    twin: [tar(pax({ path: "f" }), file("short"))],
  },
  {
    name: "a long name without an entry",
    layers: [longName("f")],
    want: { code: "tar-truncated" },
    twin: [tar(longName("f"), file("short"))],
  },
  {
    name: "a header before the end",
    layers: [tar(file("f"), pax({ path: "g" }))],
    want: "as umoci",
    twin: [tar(file("f"))],
  },
];

const globals: LayerRow[] = [
  {
    name: "a global path: applied to nothing",
    layers: [tar(pax({ path: `..${canary}/file` }, "g"), file("f"), file("g"))],
    want: [fileLine("f", "x"), fileLine("g", "x")],
    twin: [tar(file("f"), file("g"))],
  },
  {
    name: "a global size: applied to nothing",
    layers: [tar(pax({ size: "1024" }, "g"), file("f"), file("g"))],
    want: [fileLine("f", "x"), fileLine("g", "x")],
    twin: [tar(file("f"), file("g"))],
  },
  {
    name: "global owners and attributes: applied to nothing",
    layers: [tar(pax({ uid: "1234", gid: "1", "SCHILY.xattr.security.capability": "x" }, "g"), file("f"))],
    want: [fileLine("f", "x")],
    twin: [tar(file("f"))],
  },
  {
    name: "a malformed global header",
    layers: [tar(paxRaw("junk", "g"), file("f"))],
    want: { code: "tar-bad-pax" },
    twin: [tar(pax({ comment: "fine" }, "g"), file("f"))],
    twinWant: [fileLine("f", "x")],
  },
];

const attribute = (name: string, value = "x") => pax({ [`SCHILY.xattr.${name}`]: value });
const attributes: LayerRow[] = [
  ...[
    "trusted.overlay.opaque",
    "trusted.overlay.redirect",
    "trusted.overlay.whiteout",
    "trusted.overlay.metacopy",
    "trusted.overlay.upper",
  ].map(
    (name): LayerRow => ({
      name: `${name} on a directory: left out`,
      layers: [base, tar(attribute(name, "y"), dir("d"), file("d/new"))],
      want: baseTree([fileLine("d/new", "x")]),
      xattrs: [],
      twin: [base, tar(attribute("user.x", "y"), dir("d"), file("d/new"))],
      twinXattrs: ["d user.x=y"],
    }),
  ),
  {
    name: "an attribute name of 256 bytes",
    layers: [tar(attribute(`user.${"n".repeat(251)}`), file("f"))],
    want: { code: "layer-bad-xattr" },
    twin: [tar(attribute(`user.${"n".repeat(100)}`), file("f"))],
  },
  {
    name: "an attribute of 65,536 bytes",
    layers: [tar(attribute("user.x", "v".repeat(65_536)), file("f"))],
    want: { code: "layer-bad-xattr" },
    twin: [tar(attribute("user.x", "v".repeat(100)), file("f"))],
  },
  {
    name: "a hundred attributes of 10,000 bytes",
    layers: [
      tar(
        pax(
          Object.fromEntries(
            Array.from({ length: 100 }, (_, i) => [`SCHILY.xattr.user.x${i}`, "v".repeat(10_000)]),
          ),
        ),
        file("f"),
      ),
    ],
    want: { code: "layer-bad-xattr" },
    twin: [
      tar(
        pax(Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`SCHILY.xattr.user.x${i}`, "v"]))),
        file("f"),
      ),
    ],
  },
  {
    name: "30,000 attributes",
    layers: [
      tar(
        pax(Object.fromEntries(Array.from({ length: 30_000 }, (_, i) => [`SCHILY.xattr.user.${i}`, "v"]))),
        file("f"),
      ),
    ],
    want: { code: "layer-bad-xattr" },
    twin: [tar(attribute("user.1", "v"), file("f"))],
  },
  {
    name: "trusted.overlay.opaque on the root, beside what is kept",
    layers: [
      tar(attribute("trusted.overlay.opaque", "y"), dir("."), attribute("trusted.other", "v"), file("f")),
    ],
    want: [fileLine("f", "x")],
    xattrs: ["f trusted.other=v"],
    twin: [tar(attribute("user.x", "y"), dir("."), file("f"))],
    twinXattrs: ["/ user.x=y"],
  },
  {
    name: "trusted.overlay.metacopy on a file: its data is its own",
    layers: [base, tar(attribute("trusted.overlay.metacopy", ""), file("d/f", "upper"))],
    want: baseTree([fileLine("d/f", "upper")], "d/f"),
    xattrs: [],
    twin: [base, tar(attribute("user.metacopy", "1"), file("d/f", "upper"))],
    twinXattrs: ["d/f user.metacopy=1"],
  },
  ...["com.apple.quarantine", "overlay.opaque", "system.other", "USER.x", "user"].map(
    (name): LayerRow => ({
      name: `a namespace that nobody knows, ${name}: left out`,
      layers: [tar(pax({ [`SCHILY.xattr.${name}`]: "v", "SCHILY.xattr.user.kept": "v" }), file("f"))],
      want: [fileLine("f", "x")],
      xattrs: ["f user.kept=v"],
      twin: [tar(attribute("user.kept", "v"), file("f"))],
      twinXattrs: ["f user.kept=v"],
    }),
  ),
  {
    name: "an ACL that is none: left out",
    layers: [tar(pax({ "SCHILY.acl.access": "user::rwx,evil" }), file("f"))],
    want: "as umoci",
    twin: [tar(file("f"))],
  },
];

export const extensions: readonly LayerRow[] = [...lengths, ...values, ...bounds, ...globals].map((row) => ({
  ...row,
  name: `PAX: ${row.name}`,
}));
export const extendedAttributes: readonly LayerRow[] = attributes;
