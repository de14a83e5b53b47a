/** What the store reads back from its own directory, after anybody may have written there. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { isDigest } from "../../src/reference/digest.ts";
import { isStoredName, layoutOf, recordPath } from "../../src/store/layout.ts";
import { parseRecord } from "../../src/store/records.ts";
import { ownerOf } from "../../src/store/workspace.ts";

const settings = { seed: 20_261_123, numRuns: 2000 };

const digest = fc.stringMatching(/^sha256:[0-9a-f]{64}$/);
const record = fc.record(
  {
    version: fc.oneof(fc.constant(1), fc.integer(), fc.anything()),
    reference: fc.oneof(fc.constant("docker.io/library/app:1"), fc.string(), fc.anything()),
    digest: fc.oneof(digest, fc.anything()),
    manifestDigest: fc.oneof(digest, fc.string()),
    configDigest: fc.oneof(digest, fc.string()),
    diffIds: fc.oneof(fc.array(fc.oneof(digest, fc.string())), fc.anything()),
    platform: fc.oneof(fc.constant({ os: "linux", architecture: "amd64" }), fc.object()),
    pulledAt: fc.oneof(fc.constant("2026-01-01T00:00:00Z"), fc.string()),
  },
  { requiredKeys: [] },
);

test("a record is an image whose names are safe, or a problem", () => {
  const check = (text: string): boolean => {
    const parsed = parseRecord(text);
    if ("problem" in parsed) return parsed.problem !== "";
    const { digest, manifestDigest, configDigest, diffIds, reference } = parsed.image;
    const digests = [digest, manifestDigest, configDigest, ...diffIds];
    const path = recordPath(layoutOf("/data"), reference);
    return digests.every((one) => isDigest(one)) && /^\/data\/images\/[0-9a-f]{64}\.json$/.test(path);
  };
  const ofShape = fc.property(record, (value) => check(JSON.stringify(value)));
  expect(() => fc.assert(ofShape, settings)).not.toThrow();
  expect(() => fc.assert(fc.property(fc.string(), check), settings)).not.toThrow();
  expect(() => fc.assert(fc.property(fc.json(), check), settings)).not.toThrow();
});

test("a name in the store never leaves it, and an owner is always a number and a boot", () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^(blob|layer|rootfs) [a-z0-9:./]*$/));
  const isSafe = (name: string): boolean => {
    const owner = ownerOf(name);
    return !(isStoredName(name) && /[./]/.test(name)) && (!owner || Number.isSafeInteger(owner.pid));
  };
  expect(() => fc.assert(fc.property(text, isSafe), settings)).not.toThrow();
});
