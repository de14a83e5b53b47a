import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KeySequence, parseDetachKeys } from "../../src/cli/session/detach-keys.ts";

describe("--detach-keys", () => {
  it.each<[string, number[]]>([
    ["ctrl-p,ctrl-q", [16, 17]],
    ["ctrl-@", [0]],
    ["ctrl-a,ctrl-z", [1, 26]],
    ["ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", [27, 28, 29, 30, 31]],
    ["a", [97]],
    ["Z,~, ", [90, 126, 32]],
    ["DEL", [127]],
    ["ctrl-x,x,DEL", [24, 120, 127]],
    ["", []],
  ])("takes %s", (text, codes) => {
    expect([...parseDetachKeys(text)]).toEqual(codes);
  });

  it.each([
    ["a word", "enter"],
    ["an upper-case letter with ctrl", "ctrl-A"],
    ["ctrl in capitals", "CTRL-a"],
    ["ctrl alone", "ctrl-"],
    ["ctrl with two letters", "ctrl-ab"],
    ["ctrl with a digit", "ctrl-1"],
    ["an empty key", "ctrl-p,"],
    ["only a comma", ","],
    ["a plus", "ctrl+p"],
    ["a space behind the comma", "ctrl-p, ctrl-q"],
    ["a letter beyond ASCII", "ä"],
    ["del in small letters", "del"],
    ["65 keys", Array.from({ length: 65 }, () => "a").join(",")],
    ["an escape sequence", "\u001b[31m"],
  ])("refuses %s", (_name, text) => {
    expect(() => parseDetachKeys(text)).toThrow(
      expect.objectContaining({
        code: "usage",
        message: expect.not.stringMatching(/\p{Cc}/u) as string,
      }) as Error,
    );
  });
});

interface Fed {
  readonly passed: number[];
  readonly detached: boolean;
  readonly rest: number[];
}

function feed(sequence: readonly number[], pieces: readonly (readonly number[])[]): Fed {
  const keys = new KeySequence(Uint8Array.from(sequence));
  const passed: number[] = [];
  for (const [index, piece] of pieces.entries()) {
    const { pass, detach, rest } = keys.feed(Uint8Array.from(piece));
    passed.push(...pass);
    if (detach) return { passed, detached: true, rest: [...rest, ...pieces.slice(index + 1).flat()] };
  }
  return { passed: [...passed, ...keys.flush()], detached: false, rest: [] };
}

describe("the sequence", () => {
  const p = 16;
  const q = 17;

  it.each<[string, number[], number[][], Fed]>([
    ["in two keys", [p, q], [[p], [q]], { passed: [], detached: true, rest: [] }],
    ["in one piece", [p, q], [[1, p, q, 2]], { passed: [1], detached: true, rest: [2] }],
    ["begun and not ended", [p, q], [[p], [7]], { passed: [p, 7], detached: false, rest: [] }],
    ["begun twice", [p, q], [[p], [p], [q]], { passed: [p], detached: true, rest: [] }],
    ["begun at the end", [p, q], [[5, p]], { passed: [5, p], detached: false, rest: [] }],
    ["that overlaps itself", [1, 1, 2], [[1], [1], [1], [2]], { passed: [1], detached: true, rest: [] }],
    [
      "with a false start within",
      [1, 2, 1, 3],
      [
        [1, 2, 1],
        [2, 1, 3, 9],
      ],
      { passed: [1, 2], detached: true, rest: [9] },
    ],
    ["of one key", [q], [[p, q]], { passed: [p], detached: true, rest: [] }],
    ["of no key", [], [[p, q]], { passed: [p, q], detached: false, rest: [] }],
  ])("%s", (_name, sequence, pieces, expected) => {
    expect(feed(sequence, pieces)).toEqual(expected);
  });

  it("holds back only what may be its beginning", () => {
    const keys = new KeySequence(Uint8Array.of(1, 2, 1, 3));
    expect([...keys.feed(Uint8Array.of(9, 1, 2, 1)).pass]).toEqual([9]);
    expect([...keys.feed(Uint8Array.of(2)).pass]).toEqual([1, 2]);
    expect([...keys.flush()]).toEqual([1, 2]);
  });

  it("is found exactly where a search finds it, however the keys are cut", () => {
    const few = fc.integer({ min: 1, max: 3 });
    const pieces = fc.array(fc.array(few, { maxLength: 6 }), { maxLength: 20 });
    const property = fc.property(fc.array(few, { minLength: 1, maxLength: 5 }), pieces, (sequence, keys) => {
      const all = keys.flat();
      const place = Buffer.from(all).indexOf(Buffer.from(sequence));
      expect(feed(sequence, keys)).toEqual(
        place < 0
          ? { passed: all, detached: false, rest: [] }
          : { passed: all.slice(0, place), detached: true, rest: all.slice(place + sequence.length) },
      );
    });
    fc.assert(property, { seed: 20_312, numRuns: 5_000 });
  });

  it("is parsed from what it is written as", () => {
    const names = fc.constantFrom("a", "~", "DEL", "ctrl-p", "ctrl-[", "ctrl-_", "Q");
    const property = fc.property(fc.array(names, { minLength: 1, maxLength: 8 }), (keys) => {
      const codes = keys.flatMap((key) => [...parseDetachKeys(key)]);
      expect([...parseDetachKeys(keys.join(","))]).toEqual(codes);
    });
    fc.assert(property, { seed: 20_313, numRuns: 500 });
  });
});
