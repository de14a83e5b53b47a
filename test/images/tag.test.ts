/** Names against others who change them meanwhile. */
import { promises } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { expect, onTestFinished, test, vi } from "vitest";
import { findImage, listImages, removeImage } from "../../src/images/images.ts";
import { tagImage } from "../../src/images/tag.ts";
import { parse } from "../../src/reference/reference.ts";
import { collect } from "../../src/store/collect.ts";
import { recordPath } from "../../src/store/layout.ts";
import { removeRecord, writeRecord } from "../../src/store/records.ts";
import { app, base, codeOf, expectClean, newStore, other, problemsOf, pull } from "./fixtures.ts";
import { memorySource } from "./memory-source.ts";

type Moment = readonly [isIt: (to: string) => boolean, job: () => Promise<unknown>];

/** Runs each job before the first rename that is its moment, in the middle of whoever does it. */
function beforeMoves(...moments: Moment[]): void {
  const original = promises.rename;
  const waiting = new Set(moments);
  const spy = vi.spyOn(promises, "rename").mockImplementation(async (from, to) => {
    for (const moment of waiting) {
      if (!moment[0](String(to))) continue;
      waiting.delete(moment);
      await moment[1]();
    }
    await original(from, to);
  });
  syncBuiltinESMExports();
  onTestFinished(() => {
    spy.mockRestore();
    syncBuiltinESMExports();
  });
}

test("a name that stands for another image meanwhile: that one is tagged, and is whole", async () => {
  const store = await newStore();
  await pull(store, "app", memorySource([base, app]));
  const { version: _, ...second } = await pull(store, "kept", memorySource([base, other]));
  const full = "docker.io/library/app:latest";
  beforeMoves(
    // Before there is a lease, the name gets the second image …
    [
      (to) => to.startsWith(store.layout.leasesDir),
      async () => await writeRecord(store, { ...second, reference: full }),
    ],
    // … and before the new name is there, all the others go.
    [
      (to) => to === recordPath(store.layout, "docker.io/library/new:1"),
      async () => {
        for (const reference of [full, second.reference]) await removeRecord(store, reference);
        await collect(store);
      },
    ],
  );
  const tagged = await tagImage(store, "app", parse("new:1"));
  expect(tagged.manifestDigest).toBe(second.manifestDigest);
  expect(await problemsOf(store)).toEqual([]);
  expect((await listImages(store)).map(({ reference }) => reference)).toEqual(["new:1"]);
  await expectClean(store);
});

test("a name that goes meanwhile: nothing is tagged", async () => {
  const store = await newStore();
  await pull(store, "app", memorySource([base, app]));
  beforeMoves([(to) => to.startsWith(store.layout.leasesDir), async () => await removeImage(store, "app")]);
  expect(await codeOf(tagImage(store, "app", parse("new:1")))).toBe("image-not-found");
  expect(await findImage(store, "new:1")).toBeUndefined();
  await expectClean(store);
});
