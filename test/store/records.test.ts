/** Records of images, as they are on disk and as they should not be. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { collect } from "../../src/store/collect.ts";
import { recordPath } from "../../src/store/layout.ts";
import { parseRecord, readRecord, readRecords, removeRecord, writeRecord } from "../../src/store/records.ts";
import { fakeImage, fakeLayer, hasLayer, putImage } from "./fake-image.ts";
import { newStore } from "./fixtures.ts";

describe("records", () => {
  const good = { version: 1, ...fakeImage(1).record };
  const rows: readonly { readonly name: string; readonly text: string; readonly problem: RegExp }[] = [
    { name: "empty", text: "", problem: /JSON/ },
    { name: "cut short", text: JSON.stringify(good).slice(0, -10), problem: /JSON/ },
    { name: "no object", text: "[]", problem: /record|version/ },
    { name: "null", text: "null", problem: /./ },
    { name: "no version", text: JSON.stringify({ ...good, version: undefined }), problem: /version/ },
    { name: "version 0", text: JSON.stringify({ ...good, version: 0 }), problem: /version/ },
    { name: "a newer version", text: JSON.stringify({ version: 2, all: "new" }), problem: /newer/ },
    { name: "no digest", text: JSON.stringify({ ...good, digest: "sha256:zz" }), problem: /^digest/ },
    {
      name: "a path for a digest",
      text: JSON.stringify({ ...good, configDigest: "sha256:../../../etc/passwd" }),
      problem: /^configDigest/,
    },
    { name: "a short reference", text: JSON.stringify({ ...good, reference: "app" }), problem: /^reference/ },
    { name: "no reference", text: JSON.stringify({ ...good, reference: 7 }), problem: /^reference/ },
    {
      name: "1,001 layers",
      text: JSON.stringify({ ...good, diffIds: Array.from({ length: 1001 }, () => good.digest) }),
      problem: /^diffIds/,
    },
    { name: "a bad layer", text: JSON.stringify({ ...good, diffIds: ["x"] }), problem: /^diffIds\.0/ },
    { name: "no time", text: JSON.stringify({ ...good, pulledAt: "yesterday" }), problem: /^pulledAt/ },
    {
      name: "control characters in the platform",
      text: JSON.stringify({ ...good, platform: { os: "linux\u001b[2J", architecture: "amd64" } }),
      problem: /^platform\.os/,
    },
    { name: "huge", text: `"${"x".repeat(2 ** 20)}"`, problem: /too large/ },
  ];

  test.each(rows)("$name: refused", ({ text, problem }) => {
    const parsed = parseRecord(text);
    expect("problem" in parsed ? parsed.problem : "none").toMatch(problem);
  });

  test("are read back as they were written", async () => {
    const store = await newStore();
    const record = await writeRecord(store, { ...fakeImage(1).record, createdAt: "2024-02-29T12:00:00Z" });
    expect(await readRecord(store, record.reference)).toEqual(record);
    expect((await readRecords(store)).images).toEqual([record]);
    await removeRecord(store, record.reference);
    expect(await readRecord(store, record.reference)).toBeUndefined();
  });

  test("under another reference's name are refused", async () => {
    const store = await newStore();
    const path = recordPath(store.layout, "registry.test/image:2");
    await writeFile(path, JSON.stringify(good));
    expect(await readRecord(store, "registry.test/image:2")).toBeUndefined();
    expect((await readRecords(store)).problems).toEqual([
      { path, message: "image record cannot be used: its name is another reference's", isNewer: false },
    ]);
  });

  test("of a later FlameBox stop collection", async () => {
    const store = await newStore();
    await putImage(store, 1);
    await writeFile(join(store.layout.imagesDir, `${"0".repeat(64)}.json`), '{"version":2}');
    await removeRecord(store, fakeImage(1).record.reference);
    expect((await collect(store)).names).toEqual([]);
    expect(await hasLayer(store, fakeLayer(1))).toBe(true);
  });
});
