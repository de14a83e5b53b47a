/** What jails read: /proc's tables, what programs print and are, descriptions of disks. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { isMapped, mountOptions } from "../../src/machine/jail/ability.ts";
import { filesOf, parseLibraries } from "../../src/machine/jail/program-files.ts";
import { parseQemuVersion } from "../../src/machine/qemu/confinement.ts";
import { isAbandoned, ownedName } from "../../src/util/owned-folder.ts";
import { FlameBoxError } from "../../src/util/error.ts";

const SEED = { seed: 20_261, numRuns: 500 };
const dir = mkdtempSync(join(tmpdir(), "flamebox-fuzz-jail-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Lines that are nearly right. */
const table = (words: readonly string[]) =>
  fc
    .array(fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 12 })), { maxLength: 12 }), {
      maxLength: 12,
    })
    .map((lines) => lines.map((line) => line.join(" ")).join("\n"));

describe("any text", () => {
  it("is mapped users or not", () => {
    fc.assert(
      fc.property(table(["0", "1900000000", "4294967295", "-1", "1e400", "0x10"]), (text) => {
        expect(isMapped(text, 1_900_000_000, 65_537)).toBeTypeOf("boolean");
      }),
      SEED,
    );
  });

  it("has options of a mount, or none", () => {
    fc.assert(
      fc.property(table(["/", "/x", "/x\\040y", "\\777", "rw,nodev", "-"]), (text) => {
        for (const option of mountOptions(text, "/x/y")) expect(option).not.toMatch(/[ ,\n]/);
      }),
      SEED,
    );
  });

  it("names absolute paths of libraries, or none", () => {
    fc.assert(
      fc.property(table(["=>", "libc.so.6", "/lib/x", "(0x1)", "not found", "\t"]), (text) => {
        for (const path of parseLibraries(text)) expect(path).toMatch(/^\/\S*$/);
      }),
      SEED,
    );
  });

  it("is a version or not", () => {
    fc.assert(
      fc.property(table(["version", "version 7.2.22", "10.0", "version 99999.1"]), (text) => {
        const { major, minor } = parseQemuVersion(text) ?? { major: 0, minor: 0 };
        expect(major + minor).toBeLessThan(2_000);
      }),
      SEED,
    );
  });

  it("is never a folder of a living process's that is removed", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        expect(isAbandoned(`${ownedName("jail")}${text}`, "jail")).toBe(false);
        expect(isAbandoned(text, "jail.x")).toBe(false);
      }),
      SEED,
    );
  });
});

describe("any program", () => {
  it("has files that it needs, or is refused", async () => {
    const path = join(dir, "program");
    const mutation = fc.tuple(fc.nat(119), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { maxLength: 8 }), fc.nat(120), async (changes, length) => {
        const bytes = Buffer.alloc(120);
        bytes.write("\x7fELF", 0, "latin1");
        bytes.writeUInt8(64, 32);
        bytes.writeUInt16LE(56, 54);
        bytes.writeUInt16LE(1, 56);
        for (const [at, value] of changes) bytes[at] = value;
        writeFileSync(path, bytes.subarray(0, length));
        const found: unknown = await filesOf(path).catch((error: unknown) => error);
        expect(Array.isArray(found) || found instanceof FlameBoxError).toBe(true);
      }),
      { ...SEED, numRuns: 200 },
    );
  });
});
