/** Damaged images: the reader throws ErofsError or nothing, and never reads outside of the image. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { crc32c } from "../../src/formats/crc32c.ts";
import { dumpErofs } from "../../src/formats/erofs/dump.ts";
import { ErofsError, TYPE_MASK, TypeBits } from "../../src/formats/erofs/format.ts";
import { merge } from "../../src/rootfs/merge.ts";
import { RootfsError } from "../../src/rootfs/rootfs-error.ts";
import { validate } from "../../src/rootfs/validate.ts";
import { imageOf, openBytes } from "../support/erofs-image.ts";
import { buildLayer, buildLayers, dir, file, symlink } from "../support/layer-index.ts";
import { SAMPLE, pattern } from "../support/sample-stack.ts";

const LAYERS = buildLayers([
  SAMPLE[2] ?? [],
  [dir("d"), file("d/f", "1"), file("d/g", pattern(5000, 1)), symlink("l", "d/f")],
]);
const GOOD = imageOf(LAYERS);

/** Everything a caller can do with an image. */
function useAll(image: Uint8Array): void {
  const erofs = openBytes(image);
  dumpErofs(erofs);
  const seen = new Set<number>();
  const pending = [erofs.root];
  for (let inode = pending.pop(); inode !== undefined; inode = pending.pop()) {
    if (seen.has(inode.nid)) continue;
    seen.add(inode.nid);
    if ((inode.mode & TYPE_MASK) === TypeBits.directory) {
      for (const { nid } of erofs.entries(inode)) pending.push(erofs.inode(nid));
    } else {
      erofs.read(inode, 200_000);
    }
  }
  erofs.lookup("/l");
}

function thrownBy(call: () => void): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

test("the undamaged image is read to its end", () => {
  const layers = buildLayers([
    (SAMPLE[2] ?? []).filter(({ name }) => name !== "odd/hole"),
    [dir("d"), file("d/f", "1"), symlink("l", "d/f")],
  ]);
  expect(thrownBy(() => useAll(imageOf(layers)))).toBeUndefined();
});

const change = fc.tuple(
  fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1024, max: 8192 }) }, fc.nat(GOOD.length - 1)),
  fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
);

test("damaged bytes", () => {
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), fc.boolean(), (changes, cut) => {
      const bad = Buffer.from(GOOD);
      for (const [at, value] of changes) bad[at] = value;
      bad.writeUInt32LE(0, 1028);
      bad.writeUInt32LE(crc32c(bad.subarray(1024, 4096)), 1028);
      const image = cut ? bad.subarray(0, changes[0]?.[0] ?? 0) : bad;
      const error = thrownBy(() => useAll(image));
      expect(error).toSatisfy((each) => each === undefined || each instanceof ErofsError);
    }),
    { seed: 5, numRuns: 1500 },
  );
});

/** Columns of an index with random values: validation lets nothing through that the writer cannot write. */
const COLUMNS = [
  "kind",
  "mode",
  "mtimeSeconds",
  "mtimeNanoseconds",
  "sizeBytes",
  "nameOffset",
  "nameLength",
  "targetOffset",
  "targetLength",
  "xattrOffset",
  "dataKind",
  "dataOffset",
  "rdevMajor",
] as const;
const spoil = fc.tuple(
  fc.constantFrom(...COLUMNS),
  fc.nat(63),
  fc.oneof(fc.nat(16), fc.nat(9000), fc.constantFrom(-1, 0.5, Number.NaN, 0xffff_ffff, 2 ** 40, 2 ** 53)),
);

test("damaged layer indexes are refused, or give an image that can be read", () => {
  fc.assert(
    fc.property(fc.array(spoil, { minLength: 1, maxLength: 4 }), (spoils) => {
      const layer = buildLayer((SAMPLE[2] ?? []).filter(({ name }) => name !== "odd/hole"));
      for (const [column, at, value] of spoils) layer.index[column][at % layer.index.entryCount] = value;
      const refused = thrownBy(() => validate(merge([layer])));
      const error = refused ?? thrownBy(() => useAll(imageOf([layer])));
      expect(error).toSatisfy((each) => {
        if (each === undefined || each instanceof RootfsError) return each === refused;
        return each instanceof ErofsError && ALLOWED.has(each.code);
      });
    }),
    { seed: 6, numRuns: 1500 },
  );
});

/** A file made huge by a hole, and no `/l` to look up, are no damage. */
const ALLOWED = new Set(["erofs-too-much-data", "erofs-not-found"]);
