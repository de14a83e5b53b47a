/** A guest that says anything: every request gets its one answer, and nothing outside the share is touched. */
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import * as fuse from "../../src/share/fuse/format.ts";
import { Opcode, ROOT_ID } from "../../src/share/fuse/format.ts";
import { MessageSplitter, ShareError } from "../../src/share/fuse/message.ts";
import { Client, encode, text } from "../share/client.ts";

const SECRET = "outside of the share";

function world(): { readonly place: string; readonly dir: string } {
  const place = mkdtempSync(join(tmpdir(), "flamebox-share-"));
  const dir = join(place, "share");
  mkdirSync(join(dir, "d"), { recursive: true });
  writeFileSync(join(place, "secret"), SECRET, { mode: 0o600 });
  writeFileSync(join(dir, "f"), "inside");
  symlinkSync("../secret", join(dir, "l"));
  symlinkSync("..", join(dir, "up"));
  return { place, dir };
}

const number = fc.oneof(
  fc.nat(6),
  fc.constantFrom(0xffff_ffff, 0x8000_0000, 4096, 0o100644, 0o40755, 0o104777),
);
const name = fc.constantFrom(
  "f",
  "d",
  "l",
  "up",
  "new",
  "..",
  ".",
  "",
  "secret",
  "../secret",
  "d/../../secret",
  "x".repeat(256),
);
const names = fc.array(name, { maxLength: 2 });
/** Words and names in any order, which is what all requests consist of; and now and then just bytes. */
const body = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(fc.array(number, { maxLength: 22 }), names).map(([words, strings]) => {
      const bytes = Buffer.alloc(words.length * 4);
      for (const [n, word] of words.entries()) bytes.writeUInt32LE(word, n * 4);
      return Buffer.concat([bytes, ...strings.map((each) => text(each))]);
    }),
  },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 120 }).map((bytes) => Buffer.from(bytes)) },
);
const silent: readonly number[] = [Opcode.forget, Opcode.batchForget];
const opcode = fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...Object.values(Opcode)) }, fc.nat(70));
const request = fc.tuple(opcode, fc.oneof(fc.constant(ROOT_ID), fc.nat(8)), body);

test("any requests, in any order and all at once", async () => {
  const codes = new Set<number>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, { minLength: 1, maxLength: 40 }),
      fc.boolean(),
      async (requests, readonly) => {
        const { place, dir } = world();
        try {
          await using client = await Client.open(dir, {
            readonly,
            limits: { nodes: 6, descriptors: 2, handles: 4 },
          });
          for (const each of ["f", "d", "l", "up"]) await client.lookUp(ROOT_ID, each);
          await client.ask(Opcode.open, 2, encode(fuse.OPEN_IN, { flags: readonly ? 0 : 2 }));
          await client.ask(Opcode.opendir, ROOT_ID, encode(fuse.OPEN_IN, {}));
          const answers = requests.map(async ([code, node, bytes]) => {
            if (silent.includes(code)) return client.tell(code, node, bytes);
            codes.add((await client.ask(code, node, bytes)).errno);
          });
          await Promise.all(answers);
          expect((await client.attributes(ROOT_ID)).mode & 0o170000).toBe(0o40000);
          expect(client.share.usage().nodes).toBeLessThanOrEqual(6);
          expect(readdirSync(place).sort()).toEqual(["secret", "share"]);
          expect(readFileSync(join(place, "secret"), "utf8")).toBe(SECRET);
          expect(statSync(join(place, "secret")).mode & 0o7777).toBe(0o600);
          const content = readonly ? readFileSync(join(dir, "f"), "utf8") : "inside";
          expect(content).toBe("inside");
        } finally {
          rmSync(place, { recursive: true, force: true });
        }
      },
    ),
    { seed: 31, numRuns: 300 },
  );
  // Not all were refused for one reason.
  expect(codes.size).toBeGreaterThan(8);
});

test("any bytes, in any pieces, are messages or the end", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.uint8Array({ maxLength: 100 }),
          fc.constantFrom(
            encode(fuse.IN_HEADER, { len: 48, opcode: 3 }),
            Buffer.alloc(8),
            Buffer.from([40, 0, 0, 0]),
          ),
        ),
        { maxLength: 12 },
      ),
      (pieces) => {
        const splitter = new MessageSplitter();
        let given = 0;
        let taken = 0;
        let problem: unknown;
        try {
          for (const piece of pieces) {
            given += piece.length;
            for (const { body: bytes } of splitter.split(Buffer.from(piece))) taken += 40 + bytes.length;
          }
        } catch (error) {
          problem = error;
        }
        expect(problem === undefined || problem instanceof ShareError).toBe(true);
        expect(taken).toBeLessThanOrEqual(given);
      },
    ),
    { seed: 32, numRuns: 2_000 },
  );
});
