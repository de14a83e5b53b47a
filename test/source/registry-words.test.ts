/** The small parsers of the registry source: addresses, error bodies, headers. */
import { describe, expect, test } from "vitest";
import { isLocalOnly, isLoopback } from "../../src/source/registry/address.ts";
import { parseContentRange } from "../../src/source/registry/blob.ts";
import { detailOf, parseRetryAfter } from "../../src/source/registry/http-error.ts";

describe("addresses", () => {
  const table: readonly (readonly [string, boolean, boolean])[] = [
    ["localhost", true, true],
    ["127.0.0.1", true, true],
    ["127.255.0.9", true, true],
    ["[::1]", true, true],
    ["[::ffff:7f00:1]", true, true],
    ["169.254.169.254", false, true],
    ["[fe80::1]", false, true],
    ["0.0.0.0", false, true],
    ["[::]", false, true],
    ["10.0.0.1", false, false],
    ["128.0.0.1", false, false],
    ["localhost.example", false, false],
    ["registry.example", false, false],
  ];
  test.each(table)("%s", (hostname, loopback, localOnly) => {
    expect(isLoopback(hostname)).toBe(loopback);
    expect(isLocalOnly(hostname)).toBe(localOnly);
  });
});

describe("what an error body says", () => {
  const table: readonly (readonly [name: string, body: string, want: string])[] = [
    ["the specification's form", '{"errors":[{"code":"DENIED","message":"no"}]}', "DENIED: no"],
    ["a code alone", '{"errors":[{"code":"DENIED","detail":{}}]}', "DENIED"],
    ["the first of several", '{"errors":[{"code":"A"},{"code":"B"}]}', "A"],
    ["Docker Hub's token server", '{"details":"incorrect"}', "incorrect"],
    ["JSON that says nothing", "{}", ""],
    ["null", "null", "null"],
    ["numbers", '{"errors":[{"code":7}]}', ""],
    ["a null error", '{"errors":[null]}', ""],
    ["one line of text", "404 page not found\n", "404 page not found"],
    ["a page", "<html><body>secret</body></html>", ""],
    ["a terminal escape", "\u001b[2J\u202e", "\\u{1b}[2J\\u{202e}"],
    ["a very long line", "x".repeat(10_000), `${"x".repeat(240)}…`],
  ];
  test.each(table)("%s", (_, body, want) => {
    expect(detailOf(body)).toBe(want);
  });
});

describe("Retry-After", () => {
  const nowMs = Date.UTC(2026, 0, 1);
  const table: readonly (readonly [string | undefined, number | undefined])[] = [
    [undefined, undefined],
    ["0", 0],
    ["120", 120_000],
    ["Thu, 01 Jan 2026 00:00:30 GMT", 30_000],
    ["Wed, 31 Dec 2025 00:00:00 GMT", 0],
    ["-1", undefined],
    ["1e9", undefined],
    ["soon", undefined],
    ["99999999999999999999", undefined],
  ];
  test.each(table)("%s", (header, want) => {
    expect(parseRetryAfter(header, nowMs)).toBe(want);
  });
});

describe("Content-Range", () => {
  const table: readonly (readonly [string, ReturnType<typeof parseContentRange>])[] = [
    ["bytes 0-9/10", { first: 0, last: 9, total: 10 }],
    ["bytes 5-9/*", { first: 5, last: 9, total: undefined }],
    ["bytes */10", undefined],
    ["bytes 0-9", undefined],
    ["bytes=0-9/10", undefined],
    ["items 0-9/10", undefined],
    ["bytes -1-9/10", undefined],
    ["bytes 0-99999999999999999999/10", undefined],
    ["", undefined],
  ];
  test.each(table)("%j", (header, want) => {
    expect(parseContentRange(header)).toEqual(want);
  });
});
