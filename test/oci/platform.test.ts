import { describe, expect, test } from "vitest";
import { choose, requirePlatform } from "../../src/oci/choose.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { MediaType } from "../../src/oci/media-type.ts";
import { formatPlatform, hostPlatform, normalize, parsePlatform } from "../../src/oci/platform.ts";
import { digestOf } from "../../src/reference/digest.ts";

describe("parsePlatform", () => {
  const good: readonly (readonly [string, string])[] = [
    ["linux/amd64", "linux/amd64"],
    ["linux/amd64/v1", "linux/amd64"],
    ["linux/amd64/v3", "linux/amd64/v3"],
    ["Linux/X86_64", "linux/amd64"],
    ["linux/arm64/v8", "linux/arm64"],
    ["linux/aarch64", "linux/arm64"],
    ["linux/arm", "linux/arm/v7"],
    ["linux/arm/6", "linux/arm/v6"],
    ["linux/armel", "linux/arm/v6"],
    ["linux/armhf/v6", "linux/arm/v6"],
    ["linux/i386", "linux/386"],
    ["windows/amd64", "windows/amd64"],
  ];
  test.each(good)("%s is %s", (text, want) => {
    expect(formatPlatform(parsePlatform(text))).toBe(want);
  });

  test.each([
    "",
    "linux",
    "linux/",
    "/amd64",
    "linux/amd64/",
    "a/b/c/d",
    "linux/am d64",
    "linux/\u001b",
    "../..",
  ])("%j is refused", (text) => {
    expect(() => parsePlatform(text)).toThrow("not a platform");
  });

  test("the host's own", () => {
    const names = ["x64", "arm64", "arm", "ia32", "ppc64", "s390x", "riscv64"].map(hostPlatform);
    const want = ["amd64", "arm64", "arm/v7", "386", "ppc64le", "s390x", "riscv64"];
    expect(names.map(formatPlatform)).toEqual(want.map((name) => `linux/${name}`));
  });

  test("normalising twice changes nothing", () => {
    for (const text of ["linux/arm/v7", "linux/amd64/v2", "linux/arm64/v9"]) {
      const once = parsePlatform(text);
      expect(normalize(once)).toEqual(once);
    }
  });
});

function entry(platform: string | undefined, more: Partial<Descriptor> = {}): Descriptor {
  const [os = "", architecture = "", variant] = platform?.split("/") ?? [];
  return {
    mediaType: MediaType.ociManifest,
    digest: digestOf(`${platform} ${JSON.stringify(more)}`),
    size: 1,
    ...(platform === undefined ? {} : { platform: { os, architecture, ...(variant ? { variant } : {}) } }),
    ...more,
  };
}

const index = (manifests: readonly Descriptor[]) => ({
  kind: "index" as const,
  mediaType: MediaType.ociIndex,
  manifests,
});
const attestation = { annotations: { "vnd.docker.reference.type": "attestation-manifest" } };

describe("choose", () => {
  const arms = [entry("linux/arm/v5"), entry("linux/arm/v6"), entry("linux/arm/v7"), entry("linux/arm64/v8")];
  const found: readonly (readonly [
    name: string,
    entries: readonly Descriptor[],
    wanted: string,
    want: number,
  ])[] = [
    ["the only one", [entry("linux/amd64")], "linux/amd64", 0],
    ["the right one of two", [entry("linux/arm64"), entry("linux/amd64")], "linux/amd64", 1],
    ["the first of equals", [entry("linux/amd64"), entry("linux/amd64", { size: 2 })], "linux/amd64", 0],
    ["arm v7 exactly", arms, "linux/arm/v7", 2],
    ["arm v6 exactly", arms, "linux/arm/v6", 1],
    ["arm means v7", arms, "linux/arm", 2],
    ["arm v7 takes v6 when there is no v7", arms.slice(0, 2), "linux/arm/v7", 1],
    ["arm v7 takes v5 at last", arms.slice(0, 1), "linux/arm/v7", 0],
    ["an arm without a variant is v7", [entry("linux/arm")], "linux/arm/v7", 0],
    ["arm64 with v8", arms, "linux/arm64", 3],
    ["arm64/v8 without", [entry("linux/arm64")], "linux/arm64/v8", 0],
    ["amd64 takes v1", [entry("linux/amd64/v3"), entry("linux/amd64/v1")], "linux/amd64", 1],
    ["amd64 v3 takes v2 before none", [entry("linux/amd64"), entry("linux/amd64/v2")], "linux/amd64/v3", 1],
    ["other spellings", [entry("linux/x86_64")], "linux/amd64", 0],
    ["not an attestation", [entry("linux/amd64", attestation), entry("linux/amd64")], "linux/amd64", 1],
    ["not what is unknown", [entry("unknown/unknown"), entry("linux/amd64")], "linux/amd64", 1],
    [
      "the only one without a platform",
      [entry(undefined), entry("unknown/unknown", attestation)],
      "linux/amd64",
      0,
    ],
    [
      "not an index in an index",
      [entry("linux/amd64", { mediaType: MediaType.ociIndex }), entry("linux/amd64")],
      "linux/amd64",
      1,
    ],
  ];
  test.each(found)("%s", (_, entries, wanted, want) => {
    expect(choose(index(entries), parsePlatform(wanted))).toBe(entries[want]);
  });

  const missed: readonly (readonly [
    name: string,
    entries: readonly Descriptor[],
    wanted: string,
    says: string,
  ])[] = [
    ["an empty index", [], "linux/amd64", "it names no platform"],
    ["another architecture", [entry("linux/arm64/v8")], "linux/amd64", "it has linux/arm64"],
    ["another system", [entry("windows/amd64")], "linux/amd64", "it has windows/amd64"],
    ["a newer arm", [entry("linux/arm/v7")], "linux/arm/v6", "it has linux/arm/v7"],
    ["a newer amd64", [entry("linux/amd64/v3")], "linux/amd64", "it has linux/amd64/v3"],
    ["arm on arm64", [entry("linux/arm/v7")], "linux/arm64", "it has linux/arm/v7"],
    ["only attestations", [entry("linux/amd64", attestation)], "linux/amd64", "it names no platform"],
    [
      "two without a platform",
      [entry(undefined), entry(undefined, { size: 2 })],
      "linux/amd64",
      "no platform",
    ],
    ["a name with an escape", [entry("linux/\u001b[2J")], "linux/amd64", "it has linux/\\u{1b}[2j"],
    [
      "very many",
      Array.from({ length: 30 }, (_, i) => entry(`os${i + 10}/amd64`)),
      "linux/amd64",
      "os21/amd64 and 18 more",
    ],
  ];
  test.each(missed)("%s is a miss", (_, entries, wanted, says) => {
    expect(() => choose(index(entries), parsePlatform(wanted), "x:1")).toThrow(
      expect.objectContaining({
        code: "platform-not-found",
        message: expect.stringContaining(says) as string,
      }),
    );
  });

  test("an image without an index must fit, too", () => {
    const amd64 = parsePlatform("linux/amd64");
    expect(
      requirePlatform({ os: "linux", architecture: "amd64", variant: "v1" }, amd64, "x"),
    ).toBeUndefined();
    expect(
      requirePlatform({ os: "linux", architecture: "x86_64", variant: "v3" }, amd64, "x"),
    ).toBeUndefined();
    expect(() => requirePlatform({ os: "linux", architecture: "arm64" }, amd64, "x")).toThrow(
      "image x is for linux/arm64, not for linux/amd64",
    );
  });
});
