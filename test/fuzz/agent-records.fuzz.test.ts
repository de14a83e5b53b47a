/** What a guest writes of its changes, processes and directories: values or a refusal, whatever it is. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { parseEntry } from "../../src/agent/listing.ts";
import { parseChange } from "../../src/agent/layer.ts";
import { ProtocolError } from "../../src/agent/protocol/frame.ts";
import { parseProcess } from "../../src/agent/usage.ts";

const SEED = 40_412;

/** Undefined for what is refused as it has to be. */
function parsed<T>(parse: (record: Buffer) => T, record: Buffer): T | undefined {
  try {
    return parse(record);
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}

it("changes", () => {
  const record = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc
      .tuple(fc.constantFrom("A /", "C /", "D /", "A ", "B /", ""), fc.string())
      .map((parts) => Buffer.from(parts.join(""))),
  );
  fc.assert(
    fc.property(record, (bytes) => {
      const change = parseChange(Buffer.from(bytes));
      if (change === undefined) return;
      expect(change.path.startsWith("/")).toBe(true);
      expect(["added", "changed", "deleted"]).toContain(change.kind);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});

it("processes", () => {
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom("S", "sh", 1, 0, -1, 2 ** 60, { seconds: 1, nanoseconds: 1 }, ["a"]),
  );
  const names = [
    "pid",
    "machinePid",
    "parent",
    "uid",
    "user",
    "name",
    "state",
    "started",
    "cpuMicroseconds",
    "rssBytes",
    "args",
  ];
  const record = fc.oneof(
    fc.string(),
    fc.dictionary(fc.constantFrom(...names), value, { minKeys: 6 }).map((members) => JSON.stringify(members)),
  );
  fc.assert(
    fc.property(record, (text) => {
      const process = parsed(parseProcess, Buffer.from(text));
      expect(process?.pid ?? 1).toBeGreaterThan(0);
      expect(process?.state ?? "S").toMatch(/^[A-Za-z]$/);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});

it("entries of a directory", () => {
  const time = { seconds: 1, nanoseconds: 1 };
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom("file", "symlink", "a", "..", ".", "", "a/b", 0o644, 0, -1, 2 ** 60, time),
  );
  const good = { name: "f", kind: "file", mode: 0, sizeBytes: 0, mtime: time, uid: 0, gid: 0 };
  const names = [...Object.keys(good), "linkTarget"];
  const record = fc.oneof(
    fc.string(),
    fc
      .dictionary(fc.constantFrom(...names), value, { maxKeys: 3 })
      .map((members) => JSON.stringify({ ...good, ...members })),
  );
  fc.assert(
    fc.property(record, (text) => {
      const entry = parsed(parseEntry, Buffer.from(text));
      expect(["", ".", ".."]).not.toContain(entry?.name);
      expect(entry?.name ?? "").not.toContain("/");
      expect(entry?.mode ?? 0).toBeLessThan(0o10000);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});
