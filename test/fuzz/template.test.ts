/**
 * Templates of `--format`: any text is taken or refused with a UsageError, in bounded time; and what is made by the
 * grammar says what a model of each of its parts says.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { compileDocument, compileTemplate } from "../../src/cli/output/template.ts";
import { taken } from "./taken.ts";

const SEED = 20_251_129;

const WORDS =
  '{{ }} {{- -}} - . .A .B $ $x $x.A := = , | ( ) 1 0 -1 1.5 " ` \\ /* */ true nil if else end range with break continue json pad index len slice printf eq lt and or not join split truncate print "%s" "%d" "A"'.split(
    " ",
  );
const soup = fc.oneof(
  fc.string({ unit: "binary" }),
  fc
    .array(fc.constantFrom(...WORDS, " ", " ", "table ", "\t", "\n", "{{end}}", "{{range .}}", "{{if .A}}"), {
      maxLength: 40,
    })
    .map((list) => list.join("")),
  // Inside one action and one block: most of the others are not closed.
  fc.array(fc.constantFrom(...WORDS), { maxLength: 8 }).map((list) => `{{${list.join(" ")}}}`),
  fc
    .array(fc.constantFrom(...WORDS), { maxLength: 4 })
    .map((list) => `{{range $i, $x := .B}}{{${list.join(" ")}}}{{else}}-{{end}}`),
);

it("any text is a template, or is refused", () => {
  const rows = [
    { A: "x", B: ["y", 1, null] },
    { A: undefined, B: { c: 1, A: [] } },
  ];
  fc.assert(
    fc.property(soup, (text) => {
      const output = taken(() => compileTemplate(text, { A: "A", B: "B" })(rows));
      expect(output ?? "").toBeTypeOf("string");
      for (const row of rows) expect(taken(() => compileDocument(text)(row)) ?? "").toBeTypeOf("string");
    }),
    { seed: SEED, numRuns: 5_000 },
  );
});

it("any document is shown, or the template is refused", () => {
  const template = compileDocument(
    '{{range $k, $v := .}}{{$k}}={{if $v}}{{json $v}}{{else}}-{{end}}{{with $v}}{{.}}{{end}}{{printf "%v %q" $v $k}}{{end}}',
  );
  fc.assert(
    fc.property(fc.object(), (document) => {
      const plain = JSON.parse(JSON.stringify(document)) as object;
      expect(taken(() => template(plain))).toBeTypeOf("string");
    }),
    { seed: SEED, numRuns: 1_000 },
  );
});

/** A piece of a template, and what it shows. The data is `{ A: "x", B: "", L: ["p", "q"], M: { k: "v" } }`. */
interface Part {
  readonly source: string;
  readonly shows: (dot: string) => string;
}

const DATA = { A: "x", B: "", L: ["p", "q"], M: { k: "v" } };
const plain: fc.Arbitrary<Part> = fc.constantFrom<Part>(
  { source: "text ", shows: () => "text " },
  { source: "{{/* } */}}", shows: () => "" },
  { source: "{{$.A}}", shows: () => "x" },
  { source: "{{ $.L | json }}", shows: () => '["p","q"]' },
  { source: '{{index $.L (len "a")}}', shows: () => "q" },
  { source: '{{printf "<%s>" .}}', shows: (dot) => `<${dot}>` },
  { source: "{{$y := .}}{{$y}}", shows: (dot) => dot },
);
const condition = fc.constantFrom<readonly [string, boolean]>(
  ["$.A", true],
  ["$.B", false],
  ["$.No", false],
  ['(eq $.A "x")', true],
  ["not $.L", false],
  ["and $.A $.B", false],
  ["or $.B $.A", true],
);

const { parts } = fc.letrec<{ part: Part; parts: Part }>((tie) => ({
  part: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    plain,
    fc.tuple(condition, tie("parts"), tie("parts")).map(([[source, holds], yes, no]) => ({
      source: `{{if ${source}}}${yes.source}{{else}}${no.source}{{end}}`,
      shows: (dot: string) => (holds ? yes : no).shows(dot),
    })),
    tie("parts").map(({ source, shows }) => ({
      source: `{{range $.L}}${source}{{end}}`,
      shows: () => shows("p") + shows("q"),
    })),
    tie("parts").map(({ source, shows }) => ({
      source: `{{range $k, $v := $.M}}{{$k}}{{$v}}${source}{{else}}never{{end}}`,
      shows: () => `kv${shows("v")}`,
    })),
    fc.tuple(tie("parts"), tie("parts")).map(([yes, no]) => ({
      source: `{{with $.B}}${yes.source}{{else with $.A}}${no.source}{{end}}`,
      shows: () => no.shows("x"),
    })),
  ),
  parts: fc.array(tie("part"), { maxLength: 3 }).map((list) => ({
    source: list.map(({ source }) => source).join(""),
    shows: (dot) => list.map((one) => one.shows(dot)).join(""),
  })),
}));

it("what the grammar makes shows what its parts show", () => {
  fc.assert(
    fc.property(parts, ({ source, shows }) => {
      expect(compileDocument(`{{with $.A}}${source}{{end}}`)(DATA)).toBe(`${shows("x")}\n`);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});
