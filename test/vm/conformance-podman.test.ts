/** The same table with podman and runc, where they are installed: each difference is one that a row names. */
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { pushImages } from "../conformance/images.ts";
import { makePlaces } from "../conformance/places.ts";
import type { Places } from "../conformance/places.ts";
import { openPodman, Podman } from "../conformance/podman.ts";
import { bases } from "../conformance/row.ts";
import { conformance } from "../conformance/suite.ts";

const podman = await openPodman(`${inject("registry")}/flamebox/busybox:1`);

const skip = typeof podman === "string" ? ` (skipped: ${podman})` : "";

test.skipIf(skip !== "")(`podman has run an image${skip}`, () => {
  expect(podman).toBeInstanceOf(Podman);
});

function podmanConformance(podman: Podman): void {
  let places: Places;
  beforeAll(async () => {
    places = await makePlaces();
  });
  afterAll(async () => {
    await places[Symbol.asyncDispose]();
    await podman[Symbol.asyncDispose]();
  });
  describe.each(bases)("%s", (base) => {
    let references: Readonly<Record<string, string>>;
    beforeAll(async () => {
      references = await pushImages(inject("registry"), base);
      for (const reference of Object.values(references)) await podman.pull(reference);
    });
    conformance("podman", base, () => ({
      spawn: (args) => podman.spawn(["run", "--rm", ...args]),
      reference: (image) => references[image] ?? image,
      fill: places.fill,
    }));
  });
}

if (podman instanceof Podman) podmanConformance(podman);
