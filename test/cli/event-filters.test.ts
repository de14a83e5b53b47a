/** `events --filter`: what each key compares, and how several go together. */
import { expect, test } from "vitest";
import { parseEventFilters } from "../../src/cli/args/filters.ts";

const event = {
  time: "2026-11-29T00:00:00.000Z",
  type: "container",
  action: "exec_die",
  id: "ab".repeat(32),
  attributes: { image: "localhost:5000/app:1.36", name: "web", exitCode: "3" },
  labels: { tier: "front", "a.b": "x=y", empty: "" },
} as const;

test.each([
  [[], true],
  [["event=exec_die"], true],
  [["event=die", "event=exec_die"], true],
  [["event=exec_die", "container=db"], false],
  [["container=abab", "type=container"], true],
  [["image=localhost:5000/app:1.36"], true],
  [["image=localhost:5000/app"], true],
  [["image=localhost"], false],
  [["image=localhost:5000/ap"], false],
  [["label=tier"], true],
  [["label=tier=front"], true],
  [["label=tier=back"], false],
  [["label=a.b=x=y"], true],
  [["label=empty="], true],
  [["label=toString"], false],
  [["label=exitCode=3"], false],
])("%j: %s", (texts, fits) => {
  expect(parseEventFilters(texts)(event)).toBe(fits);
});

test.each(["", "tier=front", "label2=x", "__proto__=x"])("%j is none", (text) => {
  expect(() => parseEventFilters([text])).toThrow("is not a filter");
});
