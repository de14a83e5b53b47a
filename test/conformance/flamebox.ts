/** What the two files of conformance tests in machines share: a home with the images in it. */
import { afterAll, beforeAll, inject } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";
import { makePlaces } from "./places.ts";
import type { Places } from "./places.ts";
import type { Base } from "./row.ts";
import { conformance } from "./suite.ts";
import { pushImages } from "./images.ts";

export function flameboxConformance(base: Base): void {
  let home: Home;
  let places: Places;
  let references: Readonly<Record<string, string>>;
  beforeAll(async () => {
    [home, places, references] = await Promise.all([
      makeHome(inject("kernelDir")),
      makePlaces(),
      pushImages(inject("registry"), base),
    ]);
    for (const reference of Object.values(references)) {
      const { code, stderr } = await home.run(["pull", "-q", reference]);
      if (code !== 0) throw new Error(stderr);
    }
  });
  afterAll(async () => {
    await places[Symbol.asyncDispose]();
    await home[Symbol.asyncDispose]();
  });
  conformance("flamebox", base, () => ({
    spawn: (args) => home.spawn(["run", "-q", ...args]),
    reference: (image) => references[image] ?? image,
    fill: places.fill,
  }));
}
