/** The head of an ext4 file system is shown, or refused with an Ext4Error. */
import * as fc from "fast-check";
import { dumpExt4 } from "../../../src/formats/ext4/dump.ts";
import { Ext4Error } from "../../../src/formats/ext4/format.ts";
import { buildExt4 } from "../../../src/formats/ext4/writer.ts";
import { UUID, treeOf } from "../../support/ext4-image.ts";
import { buildLayer, file } from "../../support/layer-index.ts";
import { parsedOr } from "../target.ts";
import type { FuzzTarget } from "../target.ts";

function sample(): Buffer {
  const out = Buffer.alloc(2 * 4096);
  const image = buildExt4(treeOf([buildLayer([file("f", "1")])]), { uuid: UUID, sizeBytes: 2 ** 28 });
  for (const { offset, bytes } of image.pieces()) {
    if (offset < out.length) out.set(bytes.subarray(0, out.length - offset), offset);
  }
  return out;
}

const good = sample();

export const ext4: FuzzTarget = {
  name: "ext4",
  inputs: fc
    .array(fc.tuple(fc.integer({ min: 1024, max: 4096 + 200 }), fc.nat(255)), { maxLength: 4 })
    .map((changes) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of changes) bytes[at] = value;
      return bytes;
    }),
  check(input) {
    parsedOr(Ext4Error, () => dumpExt4(input));
  },
};
