import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatLocation, parseLocation, referenceText } from "../../src/source/location.ts";
import { FlameBoxError } from "../../src/util/error.ts";

const ROWS: readonly (readonly [text: string, expected: unknown])[] = [
  ["oci:dir", { kind: "oci", path: "dir" }],
  ["oci:/a/b:1.2", { kind: "oci", path: "/a/b", name: "1.2" }],
  ["oci:dir:docker.io/x:1", { kind: "oci", path: "dir", name: "docker.io/x:1" }],
  ["oci-archive:a.tar", { kind: "oci-archive", path: "a.tar" }],
  ["oci-archive:a.tar:@2", { kind: "oci-archive", path: "a.tar", name: "@2" }],
  ["docker-archive:a.tar:app:1", { kind: "docker-archive", path: "a.tar", name: "app:1" }],
  ["docker-archive:a.tar:", { kind: "docker-archive", path: "a.tar" }],
  ["dir:/a:b", { kind: "dir", path: "/a:b" }],
  ["tar:/a:b.tar.gz", { kind: "tar", path: "/a:b.tar.gz" }],
  ["alpine", undefined],
  ["docker.io/library/oci:latest", undefined],
  ["docker://alpine", undefined],
  ["ocix:dir", undefined],
  ["OCI:dir", undefined],
  ["localhost:5000/oci:1", undefined],
];

describe("locations", () => {
  it.each(ROWS)("%s", (text, expected) => expect(parseLocation(text)).toEqual(expected));

  it.each(["oci:", "dir:", "docker-archive:", "oci-archive::tag", "dir:a\0b", "tar:"])(
    "refuses %j",
    (text) => {
      expect(() => parseLocation(text)).toThrow(FlameBoxError);
    },
  );

  it("takes skopeo's docker:// off", () => {
    expect(referenceText("docker://alpine:3")).toBe("alpine:3");
    expect(referenceText("alpine:3")).toBe("alpine:3");
  });

  it("any text is a location, no location, or refused (seeded)", () => {
    const kind = fc.constantFrom("oci:", "oci-archive:", "docker-archive:", "dir:", "tar:", "");
    const property = fc.property(kind, fc.string({ maxLength: 60, unit: "binary" }), (prefix, rest) => {
      let failure: unknown;
      let found: ReturnType<typeof parseLocation>;
      try {
        found = parseLocation(prefix + rest);
      } catch (error) {
        failure = error;
      }
      expect(failure === undefined || failure instanceof FlameBoxError).toBe(true);
      expect(found && parseLocation(formatLocation(found))).toEqual(found);
    });
    fc.assert(property, { seed: 20_260_702, numRuns: 2000 });
  });
});
