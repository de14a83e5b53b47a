/** The reader meets bytes that nobody wrote: only ever a TarError, and nothing that depends on the chunking. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { TarError } from "../../src/formats/tar/error.ts";
import { archive, entry, gnuSparse, pax, setChecksum } from "../support/tar-builder.ts";
import { collect } from "../support/tar-entries.ts";

const SEED = 20_240_117;
const RUNS = 1500;

const SAMPLE = archive(
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

type Outcome = { readonly entries: string } | { readonly error: string };

function outcome(bytes: Uint8Array, chunkSizes?: readonly number[]): Outcome {
  try {
    return { entries: JSON.stringify(collect(bytes, chunkSizes)) };
  } catch (error) {
    if (error instanceof TarError) return { error: error.message };
    throw error;
  }
}

const chunkSizes = fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 1, maxLength: 5 });

/** Overwrites bytes of the sample, and mends the checksums of what is still a header, so that more gets through. */
const mutation = fc.array(
  fc.tuple(fc.nat(SAMPLE.length - 1), fc.uint8Array({ minLength: 1, maxLength: 12 })),
  { minLength: 1, maxLength: 4 },
);

function mutated(changes: readonly (readonly [number, Uint8Array])[], mend: boolean): Buffer {
  const bytes = Buffer.from(SAMPLE);
  const touched = new Set<number>();
  for (const [at, patch] of changes) {
    bytes.set(patch.subarray(0, bytes.length - at), at);
    touched.add(at - (at % 512));
  }
  for (const at of touched) {
    const block = bytes.subarray(at, at + 512);
    const isHeader = SAMPLE.subarray(at + 148, at + 156)
      .toString("latin1")
      .endsWith("\0 ");
    if (mend && isHeader) setChecksum(block);
  }
  return bytes;
}

it("arbitrary bytes", () => {
  const property = fc.property(fc.uint8Array({ maxLength: 3000 }), chunkSizes, (bytes, sizes) => {
    expect(outcome(bytes, sizes)).toEqual(outcome(bytes));
  });
  fc.assert(property, { seed: SEED, numRuns: RUNS });
});

it("a changed archive", () => {
  const property = fc.property(mutation, fc.boolean(), chunkSizes, (changes, mend, sizes) => {
    const bytes = mutated(changes, mend);
    expect(outcome(bytes, sizes)).toEqual(outcome(bytes));
  });
  fc.assert(property, { seed: SEED, numRuns: RUNS });
});

it("arbitrary extended headers", () => {
  const keys = [
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
  const records = fc.dictionary(
    fc.oneof(fc.constantFrom(...keys), fc.string({ minLength: 1, maxLength: 8 })),
    value,
  );
  const property = fc.property(records, chunkSizes, (fields, sizes) => {
    const bytes = archive(pax(fields), entry({ name: "f" }, "hello"));
    expect(outcome(bytes, sizes)).toEqual(outcome(bytes));
  });
  fc.assert(property, { seed: SEED, numRuns: RUNS });
});

it("every chunking of a good archive gives the same entries", () => {
  const whole = outcome(SAMPLE);
  expect(whole).toHaveProperty("entries");
  fc.assert(
    fc.property(chunkSizes, (sizes) => {
      expect(outcome(SAMPLE, sizes)).toEqual(whole);
    }),
    { seed: SEED, numRuns: 300 },
  );
});
