/** The table itself: every line of the check-list has rows, and docs/conformance.md shows them. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { checklist } from "./checklist.ts";
import type { Line } from "./checklist.ts";
import { compose, cut, rowsFor } from "./compose.ts";
import { render } from "./document.ts";
import { bases } from "./row.ts";
import { elsewhere, groups, missing, runs } from "./table.ts";

const repository = new URL("../../", import.meta.url);

test.each(Object.keys(checklist) as Line[])("the line %s has rows", (line) => {
  const rows = [...groups.flatMap((group) => group.rows), ...runs, ...elsewhere, ...missing];
  expect(rows.some((row) => row.line === line)).toBe(true);
});

test("names are unique, and every row runs on an image", () => {
  for (const group of groups) {
    const names = group.rows.map(({ name }) => name);
    expect(new Set(names).size, group.name).toBe(names.length);
    for (const row of group.rows)
      expect(
        (group.images ?? bases).some((base) => rowsFor(base, [row]).length > 0),
        row.name,
      ).toBe(true);
  }
  expect(new Set(groups.map(({ name }) => name)).size).toBe(groups.length);
  expect(new Set(runs.map(({ name }) => name)).size).toBe(runs.length);
});

test.each(elsewhere)("$name is in $file", ({ file, words }) => {
  expect(readFileSync(new URL(file, repository), "utf8")).toContain(words);
});

test("a difference differs", () => {
  const rows = groups.flatMap((group) => group.rows);
  const differing = rows.flatMap(({ name, shows, podman = {} }) =>
    "shows" in podman ? [{ name, shows, theirs: podman.shows }] : [],
  );
  expect(differing).not.toHaveLength(0);
  for (const { name, shows, theirs } of differing) expect(theirs, name).not.toEqual(shows);
});

describe("many rows in one container", () => {
  test("output is cut where rows begin, and at their codes", () => {
    const stdout = "before\u001eone\r\ntwo\r\n\u001f0\u001e\u001f3\u001ecut off";
    expect(cut(stdout)).toEqual([
      { output: "one\ntwo", code: 0 },
      { output: "", code: 3 },
      { output: "cut off", code: Number.NaN },
    ]);
  });

  test("a script is a shell of its own", () => {
    const row = { line: "env", name: "x", script: "exit 3", shows: "" } as const;
    expect(compose([row, row]).match(/^\(\nexit 3\n\) 2>&1 <\/dev\/null$/gm)).toHaveLength(2);
  });
});

test("docs/conformance.md is the table; write it anew with: npx vitest run --project host test/conformance -u", async () => {
  await expect(render()).toMatchFileSnapshot(fileURLToPath(new URL("docs/conformance.md", repository)));
});
