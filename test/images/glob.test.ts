/** Patterns of names, against what Go's path.Match says of them. */
import { describe, expect, test } from "vitest";
import { parseGlob } from "../../src/images/glob.ts";

/** From https://github.com/golang/go/blob/go1.22.0/src/path/match_test.go; undefined where it says ErrBadPattern. */
const ROWS: readonly (readonly [pattern: string, text: string, matches: boolean | undefined])[] = [
  ["abc", "abc", true],
  ["*", "abc", true],
  ["*c", "abc", true],
  ["a*", "a", true],
  ["a*", "abc", true],
  ["a*", "ab/c", false],
  ["a*/b", "abc/b", true],
  ["a*/b", "a/c/b", false],
  ["a*b*c*d*e*/f", "axbxcxdxe/f", true],
  ["a*b*c*d*e*/f", "axbxcxdxexxx/f", true],
  ["a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false],
  ["a*b*c*d*e*/f", "axbxcxdxexxx/fff", false],
  ["a*b?c*x", "abxbbxdbxebxczzx", true],
  ["a*b?c*x", "abxbbxdbxebxczzy", false],
  ["ab[c]", "abc", true],
  ["ab[b-d]", "abc", true],
  ["ab[e-g]", "abc", false],
  ["ab[^c]", "abc", false],
  ["ab[^b-d]", "abc", false],
  ["ab[^e-g]", "abc", true],
  ["a\\*b", "a*b", true],
  ["a\\*b", "ab", false],
  ["a?b", "a☺b", true],
  ["a[^a]b", "a☺b", true],
  ["a???b", "a☺b", false],
  ["a[^a][^a][^a]b", "a☺b", false],
  ["[a-ζ]*", "α", true],
  ["*[a-ζ]", "A", false],
  ["a?b", "a/b", false],
  ["a*b", "a/b", false],
  ["[\\]a]", "]", true],
  ["[\\-]", "-", true],
  ["[x\\-]", "x", true],
  ["[x\\-]", "-", true],
  ["[x\\-]", "z", false],
  ["[\\-x]", "x", true],
  ["[\\-x]", "-", true],
  ["[\\-x]", "a", false],
  ["[]a]", "]", undefined],
  ["[-]", "-", undefined],
  ["[x-]", "x", undefined],
  ["[x-]", "-", undefined],
  ["[-x]", "x", undefined],
  ["\\", "a", undefined],
  ["[a-b-c]", "a", undefined],
  ["[", "a", undefined],
  ["[^", "a", undefined],
  ["[^bc", "a", undefined],
  ["a[", "a", undefined],
  ["a[", "ab", undefined],
  ["a[", "x", undefined],
  ["a/b[", "x", undefined],
  ["*x", "xxx", true],
  ["", "", true],
  ["", "a", false],
  // No expression of another kind gets through.
  ["a.c", "abc", false],
  ["(a|b)", "a", false],
  ["a{1}", "a", false],
];

describe("patterns", () => {
  test.each(ROWS)("%j of %j", (pattern, text, matches) => {
    expect(parseGlob(pattern)?.(text)).toBe(matches);
  });

  test("many stars take no time", () => {
    const started = performance.now();
    expect(parseGlob(`${"*a".repeat(200)}b`)?.("a".repeat(2000))).toBe(false);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
