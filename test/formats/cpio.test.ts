import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CpioError } from "../../src/formats/cpio/format.ts";
import type { CpioEntry } from "../../src/formats/cpio/format.ts";
import { readCpio } from "../../src/formats/cpio/reader.ts";
import { writeCpio } from "../../src/formats/cpio/writer.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

const INITRAMFS: CpioEntry[] = [
  { path: "dev", kind: "directory", mode: 0o755 },
  { path: "dev/console", kind: "character", mode: 0o600, rdev: { major: 5, minor: 1 } },
  { path: "init", kind: "file", mode: 0o755, data: bytes("#!/bin/true\n") },
  { path: "empty", kind: "file", mode: 0o4644, data: new Uint8Array(0) },
  { path: "sbin", kind: "symlink", mode: 0o777, target: "usr/sbin" },
  { path: "größe", kind: "file", mode: 0o644, data: bytes("abcde") },
];

test("what is written is read back", () => {
  expect(readCpio(writeCpio(INITRAMFS))).toEqual(INITRAMFS);
});

test("the bytes are pinned", () => {
  const archive = writeCpio(INITRAMFS);
  expect(archive.length % 512).toBe(0);
  expect(createHash("sha256").update(archive).digest("hex")).toMatchInlineSnapshot(
    `"dda4ee4bcacc9ae22643c5d4c848c8345422c4c365f4cbe96fad4a49167da180"`,
  );
});

test("busybox lists it", () => {
  const dir = mkdtempSync(join(tmpdir(), "flamebox-cpio-"));
  try {
    writeFileSync(join(dir, "a.cpio"), writeCpio(INITRAMFS));
    const list = execFileSync("busybox", ["cpio", "-tvF", join(dir, "a.cpio")], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, TZ: "UTC", LC_ALL: "C.UTF-8" },
    });
    expect(list).toMatchInlineSnapshot(`
      "drwxr-xr-x 0/0         0 1970-01-01 00:00:00 dev
      crw------- 0/0         0 1970-01-01 00:00:00 dev/console
      -rwxr-xr-x 0/0        12 1970-01-01 00:00:00 init
      -rwSr--r-- 0/0         0 1970-01-01 00:00:00 empty
      lrwxrwxrwx 0/0         0 1970-01-01 00:00:00 sbin -> usr/sbin
      -rw-r--r-- 0/0         5 1970-01-01 00:00:00 größe
      "
    `);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

const file: CpioEntry = { path: "a", kind: "file", mode: 0o644 };
const REFUSED: [string, CpioEntry[], RegExp][] = [
  ["an absolute path", [{ ...file, path: "/a" }], /plain relative/],
  ["a path that climbs", [{ ...file, path: "../a" }], /plain relative/],
  ["an empty path", [{ ...file, path: "" }], /plain relative/],
  ["a NUL", [{ ...file, path: "a\0b" }], /plain relative/],
  ["a parent that is missing", [{ ...file, path: "b/a" }], /come before/],
  ["a parent that is a file", [file, { ...file, path: "a/b" }], /come before/],
  ["a path given twice", [file, file], /twice/],
  ["the trailer's name", [{ ...file, path: "TRAILER!!!" }], /end the archive/],
  ["a path that is too long", [{ ...file, path: "x".repeat(4096) }], /longer/],
  ["type bits in the mode", [{ ...file, mode: 0o100644 }], /mode/],
  ["data on a directory", [{ path: "d", kind: "directory", mode: 0o755, data: bytes("x") }], /data is for/],
  ["a symlink without target", [{ path: "l", kind: "symlink", mode: 0o777 }], /target/],
  ["a symlink to nothing", [{ path: "l", kind: "symlink", mode: 0o777, target: "" }], /target has/],
  ["a device without number", [{ path: "c", kind: "character", mode: 0o600 }], /rdev/],
  ["a negative device", [{ path: "c", kind: "character", mode: 0, rdev: { major: -1, minor: 0 } }], /device/],
];

test.each(REFUSED)("the writer refuses %s", (_name, entries, message) => {
  expect(() => writeCpio(entries)).toThrow(CpioError);
  expect(() => writeCpio(entries)).toThrow(message);
});

function patched(offset: number, text: string): Uint8Array {
  const archive = writeCpio([{ ...file, data: bytes("data") }]);
  archive.set(bytes(text), offset);
  return archive;
}
/** Where the n-th number of the first header is. */
const field = (n: number) => 6 + 8 * n;

const MALFORMED: [string, Uint8Array, RegExp][] = [
  ["nothing", new Uint8Array(0), /no trailer/],
  ["half a header", writeCpio([file]).subarray(0, 60), /no room/],
  ["no trailer", writeCpio([file]).subarray(0, 112), /no trailer/],
  ["another magic", patched(0, "070707"), /magic/],
  ["a digit that is none", patched(field(1), "0000z1a4"), /mode is not hex/],
  ["a signed number", patched(field(1), "-00001a4"), /mode is not hex/],
  ["a huge file", patched(field(6), "ffffffff"), /ends inside/],
  ["a name of no bytes", patched(field(11), "00000000"), /name of 0/],
  ["a huge name", patched(field(11), "fffffff0"), /name of/],
  ["a name without NUL", patched(111, "x"), /NUL/],
  [
    "a name that is not UTF-8",
    (() => {
      const a = patched(0, "0");
      a[110] = 0xff;
      return a;
    })(),
    /UTF-8/,
  ],
  ["a socket", patched(field(1), "0000c1a4"), /none of/],
];

test.each(MALFORMED)("the reader refuses %s", (_name, archive, message) => {
  expect(() => readCpio(archive)).toThrow(CpioError);
  expect(() => readCpio(archive)).toThrow(message);
});

function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

test("the reader throws nothing but CpioError on damaged archives", () => {
  const good = writeCpio(INITRAMFS);
  const damage = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(damage, fc.nat(good.length), (changes, length) => {
      const bad = good.slice(0, length);
      for (const [at, value] of changes) if (at < length) bad[at] = value;
      expect(thrownBy(() => readCpio(bad))).toSatisfy(
        (error) => error === undefined || error instanceof CpioError,
      );
    }),
    { seed: 1, numRuns: 500 },
  );
});
