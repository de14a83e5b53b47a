/** What an image says about itself, as annotations. */
import { describe, expect, it } from "vitest";
import type { ImageConfig } from "../../src/oci/config.ts";
import { annotationsOfImage } from "../../src/runtime-spec/annotations.ts";

const plain: ImageConfig = { os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: [] } };
const own = { "org.opencontainers.image.os": "linux", "org.opencontainers.image.architecture": "amd64" };

describe("annotations of an image", () => {
  it.each<[name: string, image: Partial<ImageConfig>, expected: Record<string, string>]>([
    ["its platform", {}, {}],
    ["a variant", { variant: "v2" }, { "org.opencontainers.image.variant": "v2" }],
    ["an empty variant", { variant: "" }, {}],
    [
      "author and date",
      { author: "A. N. Other", created: "2024-01-02T03:04:05Z" },
      {
        "org.opencontainers.image.author": "A. N. Other",
        "org.opencontainers.image.created": "2024-01-02T03:04:05Z",
      },
    ],
    [
      "stop signal and ports",
      { config: { StopSignal: "SIGQUIT", ExposedPorts: { "80/tcp": {}, "53/udp": {} } } },
      {
        "org.opencontainers.image.stopSignal": "SIGQUIT",
        "org.opencontainers.image.exposedPorts": "80/tcp,53/udp",
      },
    ],
    [
      "labels, which win",
      { config: { Labels: { a: "b", "org.opencontainers.image.os": "other" } } },
      { a: "b", "org.opencontainers.image.os": "other" },
    ],
    ["a label without a name", { config: { Labels: { "": "x" } } }, {}],
  ])("%s", (_name, image, expected) => {
    expect({ ...annotationsOfImage({ ...plain, ...image }).annotations }).toEqual({ ...own, ...expected });
  });

  it.each<[name: string, labels: Record<string, string>]>([
    ["many", Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [`l${index}`, ""]))],
    ["long", { first: "x".repeat(100_000), second: "x".repeat(100_000) }],
  ])("that are too %s are left out, and counted", (_name, Labels) => {
    const { annotations, leftOut } = annotationsOfImage({ ...plain, config: { Labels } });
    expect(annotations).toMatchObject(own);
    expect(Object.keys(annotations).length + leftOut).toBe(Object.keys(Labels).length + 2);
    expect(leftOut).toBeGreaterThan(0);
    expect(JSON.stringify(annotations).length).toBeLessThan(200_000);
  });
});
