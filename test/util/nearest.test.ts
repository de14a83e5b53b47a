import { expect, it } from "vitest";
import { nearest } from "../../src/util/nearest.ts";

it.each([
  ["a letter that is missing", "nofle", "nofile"],
  ["a letter too many", "cpuu", "cpu"],
  ["another letter", "stuck", "stack"],
  ["two letters in the wrong order", "cup", "cpu"],
  ["the same at the beginning", "tsack", "stack"],
  ["the word itself", "core", "core"],
  ["another word", "elephant", undefined],
  ["nothing", "", undefined],
  ["a word without end", "a".repeat(65), undefined],
])("finds what was meant by %s", (_name, word, found) => {
  expect(nearest(word, ["nofile", "cpu", "stack", "core"])).toBe(found);
});
