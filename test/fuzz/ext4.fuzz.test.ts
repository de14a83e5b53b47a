/** Trees that nobody thought of: e2fsck finds nothing to change in what the writer makes of them. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CLEAN, e2fsck, writeExt4File } from "../support/ext4-image.ts";
import { buildLayer, device, dir, fifo, file, hardlink, symlink } from "../support/layer-index.ts";
import type { Entry } from "../support/layer-index.ts";
import { scratchDir } from "../support/rootfs-image.ts";
import { pattern } from "../support/sample-stack.ts";

const letter = fc
  .integer({ min: 1, max: 255 })
  .filter((code) => code !== 0x2f)
  .map((code) => String.fromCharCode(code));
const name = fc
  .array(letter, { minLength: 1, maxLength: 255 })
  .map((letters) => letters.join(""))
  .filter((text) => text !== "." && text !== ".." && !text.startsWith(".wh."));
const parent = fc.constantFrom("", "a/", "a/b/", "c/");
const time = fc.tuple(fc.integer({ min: -(2 ** 33), max: 2 ** 35 }), fc.nat(999_999_999));
const id = fc.integer({ min: 0, max: 2 ** 32 - 2 });
const xattrs = fc
  .uniqueArray(
    fc.tuple(
      fc.constantFrom(1, 4, 6),
      fc.stringMatching(/^[a-z=.]{1,40}$/),
      fc.uint8Array({ maxLength: 300 }),
    ),
    { maxLength: 5, selector: ([index, suffix]) => `${index}${suffix}` },
  )
  .filter(
    (list) => list.reduce((sum, [, suffix, value]) => sum + 24 + suffix.length + value.length, 0) < 3500,
  );
const extra = fc.record(
  { mode: fc.nat(0o7777), uid: id, gid: id, mtime: time, xattrs },
  { requiredKeys: [], noNullPrototype: true },
);
const sparse = fc
  .tuple(fc.nat(3), fc.array(fc.boolean(), { minLength: 1, maxLength: 60 }))
  .map(([chunkBits, present]) => {
    const chunkBytes = 4096 << chunkBits;
    const chunks = present.map((there, at) => (there ? pattern(chunkBytes, at) : null));
    return { sizeBytes: chunks.length * chunkBytes, chunkBits, chunks };
  });

const entry: fc.Arbitrary<Entry> = fc.tuple(parent, name).chain(([under, last]) => {
  const path = under + last;
  return fc.oneof(
    fc.tuple(fc.nat(9000), extra).map(([size, more]) => file(path, pattern(size, size), more)),
    fc.tuple(sparse, extra).map(([runs, more]) => file(path, "", { ...more, sparse: runs })),
    extra.map((more) => dir(path, more)),
    fc
      .tuple(fc.integer({ min: 1, max: 4095 }), extra)
      .map(([size, more]) => symlink(path, "t".repeat(size), more)),
    fc.tuple(fc.nat(4095), fc.nat(0xf_ffff)).map(([major, minor]) => device("block", path, major, minor)),
    fc.constant(fifo(path)),
    fc.constant(hardlink(path, "first")),
  );
});
const many = fc
  .tuple(fc.nat(3000), fc.nat(200))
  .map(([count, length]) =>
    Array.from({ length: count }, (_, number) => file(`many/${"n".repeat(length)}${number}`)),
  );

test("any tree is a sound file system, of any size", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(entry, { maxLength: 40, selector: ({ name: path }) => path }),
      many,
      fc.option(fc.integer({ min: 48, max: 700 }), { nil: undefined }),
      async (entries, names, sizeMib) => {
        using scratch = scratchDir();
        const layer = buildLayer([file("first", "1"), dir("a"), dir("a/b"), dir("c"), ...entries, ...names]);
        const options = sizeMib === undefined ? {} : { sizeBytes: sizeMib * 2 ** 20 + 4096 };
        expect(e2fsck(await writeExt4File(scratch.path, [layer], options))).toEqual(CLEAN);
      },
    ),
    { seed: 0xe4, numRuns: 40 },
  );
});
