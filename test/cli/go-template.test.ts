/** The language of `--format`: what Go's text/template makes of it, and what is refused, and where. */
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/cli/failure.ts";
import { compileDocument } from "../../src/cli/output/template.ts";

const document = {
  Name: "web",
  Running: true,
  Code: 0,
  Streak: 3,
  Health: null,
  Empty: [],
  Env: ["A=1", "B=2"],
  Labels: { z: "last", "com.example/a": "first" },
  State: { Status: "running" },
  Ports: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "8080" }], "53/udp": null },
  Networks: { shop: { IPAddress: "10.87.0.2" }, user: { IPAddress: "10.0.2.15" } },
};

function render(template: string): string {
  return compileDocument(template)(document).slice(0, -1);
}

function complaint(job: () => unknown): string {
  try {
    job();
  } catch (error) {
    if (error instanceof UsageError) return error.message.replace(/^--format: /, "");
    throw error;
  }
  return "it was accepted";
}

describe("blocks", () => {
  it.each([
    ["range over a list", "{{range .Env}}<{{.}}>{{end}}", "<A=1><B=2>"],
    ["range over a map, by key", "{{range .Labels}}{{.}} {{end}}", "first last "],
    ["range with an index", "{{range $i, $e := .Env}}{{$i}}:{{$e}} {{end}}", "0:A=1 1:B=2 "],
    ["range with a key", "{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "com.example/a=first;z=last;"],
    ["range with one variable", "{{range $e := .Env}}{{$e}}{{.}} {{end}}", "A=1A=1 B=2B=2 "],
    ["range over nothing", "{{range .Empty}}x{{else}}none{{end}}", "none"],
    ["range over what is not there", "{{range .No}}x{{else}}none{{end}}", "none"],
    ["range in range", "{{range $p, $l := .Ports}}{{range $l}}{{$p}}{{end}}{{end}}", "80/tcp"],
    ["the document inside", "{{range .Env}}{{$.Name}} {{end}}", "web web "],
    ["break", "{{range .Env}}{{.}}{{break}}{{end}}", "A=1"],
    ["continue", '{{range .Env}}{{if eq . "A=1"}}{{continue}}{{end}}{{.}}{{end}}', "B=2"],
    ["if", "{{if .Running}}up{{end}}", "up"],
    ["if of zero", "{{if .Code}}bad{{else}}good{{end}}", "good"],
    ["if of nothing", "{{if .Health}}a{{else if .Empty}}b{{else if .Env}}c{{else}}d{{end}}", "c"],
    ["if with a variable", "{{if $x := .Name}}{{$x}}{{end}}", "web"],
    ["with", "{{with .State}}{{.Status}}{{end}}", "running"],
    ["with of nothing", "{{with .Health}}x{{else}}{{.Name}}{{end}}", "web"],
    ["else with", "{{with .Health}}x{{else with .State}}{{.Status}}{{end}}", "running"],
    ["a variable", "{{$x := .Name}}{{$x | upper}}", "WEB"],
    ["a variable of its block", "{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"],
    ["a variable that is set inside", "{{$x := 1}}{{range .Env}}{{$x = .}}{{end}}{{$x}}", "B=2"],
    ["a variable's fields", "{{$s := .State}}{{$s.Status}}", "running"],
    ["trimming", "a\n{{- range .Env }}\n{{ . }}\n{{- end -}}\nb", "a\nA=1\nB=2b"],
    ["a comment between", "a {{- /* }} */ -}} b", "ab"],
    ["braces in a string", '{{"}}"}}', "}}"],
    ["the first network's address", "{{range .Networks}}{{.IPAddress}}{{break}}{{end}}", "10.87.0.2"],
  ])("%s", (_, template, text) => {
    expect(render(template)).toBe(text);
  });
});

describe("functions", () => {
  it.each([
    ["index, nested", '{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"],
    ["index of several keys", '{{(index .Ports "80/tcp" 0).HostIp}}', "127.0.0.1"],
    ["index of a label", '{{index .Labels "com.example/a"}}', "first"],
    ["index of what is not there", '{{index .Labels "toString"}}', "<no value>"],
    ["index of nothing", "{{index .Name}}", "web"],
    ["len", "{{len .Name}} {{len .Env}} {{len .Labels}} {{.Env | len}}", "3 2 2 2"],
    ["len counts bytes", '{{len "ä"}}', "2"],
    ["slice", "{{slice .Name 1}} {{slice .Name 0 2}} {{slice .Env 1}}", "eb we [B=2]"],
    [
      "eq",
      '{{eq .Name "web"}} {{eq .Code 0}} {{eq .Name "a" "web"}} {{eq .Health nil}}',
      "true true true true",
    ],
    ["eq with nothing", '{{eq .No "a"}} {{ne .No "a"}}', "false true"],
    ["an order", '{{lt 1 2}} {{le 2 2}} {{gt .Streak 2}} {{ge "a" "b"}}', "true true true false"],
    ["and, or, not", "{{and .Running .Name}} {{or .Health .Name}} {{not .Code}}", "web web true"],
    ["and stops where it is decided", "{{and .Health (len .Health)}}", "<no value>"],
    ["or stops where it is decided", "{{or .Name (len .Health)}}", "web"],
    ["and with a pipe", "{{.Name | and .Running}}", "web"],
    ["printf", '{{printf "%s=%d %v %q %%" .Name .Streak .Running .Name}}', 'web=3 true "web" %'],
    [
      "printf with widths",
      '{{printf "[%-5s|%5s|%05d|%.2s]" .Name .Name .Streak .Name}}',
      "[web  |  web|00003|we]",
    ],
    ["printf of a negative number", '{{printf "%04d" -7}}', "-007"],
    ["printf %t %x", '{{printf "%t %x %x" .Running "hi" 255}}', "true 6869 ff"],
    ["printf from a pipe", '{{.Name | printf "%s-%s" "a"}}', "a-web"],
    ["println", "{{range .Env}}{{println .}}{{end}}", "A=1\nB=2\n"],
    ["print", '{{print 1 2 "a" 3 .Running}}', "1 2a3 true"],
    ["join", '{{join .Env ", "}}', "A=1, B=2"],
    ["split", '{{index (split .Name "e") 1}}', "b"],
    ["json", "{{json .State}} {{json .Health}} {{.Env | json}}", '{"Status":"running"} null ["A=1","B=2"]'],
    ["title, lower, upper", "{{title .Name}}{{upper .Name}}{{lower .Name}}", "WebWEBweb"],
    ["Go's escapes", '{{"a\\x41\\101\\u0041\\U00000041\\t\\"\\\\"}}', 'aAAAA\t"\\'],
    ["numbers", "{{1}} {{-1}} {{+1}} {{1.5}}", "1 -1 1 1.5"],
    ["words", '{{true}} {{false}} {{printf "%v" nil}}', "true false <no value>"],
  ])("%s", (_, template, text) => {
    expect(render(template)).toBe(text);
  });
});

describe("what is refused, and where", () => {
  it.each([
    ["an action that is not closed", "ab{{.Tag", "a {{ is not closed by }}, at character 3"],
    ["a string that is not closed", '{{"a}}', "'\"a}}' is not understood, at character 3"],
    ["a comment that is not closed", "{{/* a }}", "'/* a }}' is not understood, at character 3"],
    ["a comment and more", "{{/* a */ .Tag}}", "a comment has to end with */}}, at character 1"],
    ["an empty action", "{{}}", "an action {{}} is empty, at character 1"],
    ["only a dash", "{{-}}", "'-}}' is not understood, at character 3"],
    ["a place in lines", "a\n\n {{.A.}}", "a blank is missing before '.', at line 3, character 6"],
    ["an unknown function", "{{toString .Tag}}", "there is no function 'toString', at character 3"],
    ["define", '{{define "a"}}{{end}}', "{{define}} is not supported here, at character 3"],
    ["html", "{{html .A}}", "{{html}} is not supported here, at character 3"],
    ["two values and no function", "{{.Tag .Size}}", "2 values have no function, at character 8"],
    [
      "a function in the wrong place",
      "{{json upper .A}}",
      "the function 'upper' and its values have to be in parentheses here, at character 8",
    ],
    ["too few values", "{{json}}", "json takes 1 value, got 0, at character 3"],
    ["too many values", "{{json .Tag .Size}}", "json takes 1 value, got 2, at character 3"],
    ["a range of values", "{{println}}", "println takes 1 to 16 values, got 0, at character 3"],
    ["a pipe from nothing", "{{| json}}", "a value is missing, at character 3"],
    ["a pipe to nothing", "{{.A |}}", "a pipe leads into something that is not a function, at character 1"],
    [
      "a pipe to a field",
      "{{.A | .B}}",
      "a pipe leads into something that is not a function, at character 8",
    ],
    ["end without a block", "x{{end}}", "{{end}} has no if, with or range before it, at character 2"],
    ["else without a block", "{{else}}", "{{else}} has no if, with or range before it, at character 1"],
    ["a range without an end", "{{range .A}}x", "the {{range}} is not closed by {{end}}, at character 1"],
    [
      "an if whose else has none",
      "{{if .A}}x{{else}}",
      "the {{if}} is not closed by {{end}}, at character 1",
    ],
    [
      "a second else",
      "{{if .A}}{{else}}{{else}}{{end}}",
      "the {{if}} has a second {{else}}, at character 18",
    ],
    ["words behind end", "{{if .A}}{{end .B}}", "'.B' is not understood here, at character 16"],
    ["words behind else", "{{if .A}}{{else .B}}{{end}}", "'.B' is not understood here, at character 17"],
    ["if without a value", "{{if}}x{{end}}", "a value is missing, at character 1"],
    ["a word of a block in a value", "{{json if}}", "{{if}} is not supported here, at character 8"],
    ["break outside", "{{if .A}}{{break}}{{end}}", "{{break}} is not in a range, at character 10"],
    [
      "break in the else",
      "{{range .A}}{{else}}{{break}}{{end}}",
      "{{break}} is not in a range, at character 21",
    ],
    ["an unknown variable", "{{$x}}", "there is no variable $x, at character 3"],
    ["a variable outside", "{{range $x := .A}}{{end}}{{$x}}", "there is no variable $x, at character 28"],
    ["one that is set, and is not there", "{{$x = 1}}", "there is no variable $x, at character 1"],
    ["$ that is set", "{{$ := 1}}", "a variable has a name behind its $, at character 5"],
    [
      "two variables of an if",
      "{{if $a, $b := .A}}{{end}}",
      "only range sets two variables, at character 13",
    ],
    [
      "a range that sets",
      "{{$a := 1}}{{range $a = .A}}{{end}}",
      "{{range}} makes variables with :=, and does not set others, at character 12",
    ],
    ["a field of a string", '{{"a".B}}', '"a" has no fields, at character 6'],
    ["a ( that is not closed", "{{json (.A}}", "a ( is not closed by ), at character 8"],
    ["a ) too many", "{{json .A)}}", "')' is not understood here, at character 10"],
    ["nothing in parentheses", "{{json ()}}", "a value is missing, at character 9"],
    ["values that touch", '{{json "a""b"}}', 'a blank is missing before "b", at character 11'],
    [
      "an escape that there is not",
      '{{"\\q"}}',
      'the string "\\q" has the escape \\q, which there is not, at character 3',
    ],
    ["a number that is none", "{{0x1g}}", "'0x1g}}' is not understood, at character 3"],
    ["a sign", "{{.A = 1}}", "'=' is not understood here, at character 6"],
  ])("%s", (_, template, message) => {
    expect(complaint(() => compileDocument(template))).toBe(message);
  });

  it.each([
    [
      "an item that there is not",
      "{{index .Env 7}}",
      "index: there is no item 7 in a list of 2, at character 3",
    ],
    [
      "an index of nothing",
      '{{index (index .Ports "9/tcp") 0}}',
      "index looks into lists and maps, and this is nothing, at character 3",
    ],
    [
      "an index that is no number",
      '{{index .Env "0"}}',
      "index takes a whole number for a list, not a text, at character 3",
    ],
    [
      "a key that is no text",
      "{{index .Labels 0}}",
      "index takes a text for a map, not a number, at character 3",
    ],
    [
      "a range of a text",
      "{{range .Name}}{{end}}",
      "range goes through lists and maps, and this is a text, at character 1",
    ],
    [
      "the length of nothing",
      "{{len .No}}",
      "len takes a text, a list or a map, and this is nothing, at character 3",
    ],
    [
      "a text and a number",
      "{{if eq .Name 1}}{{end}}",
      "a text cannot be compared with a number, at character 6",
    ],
    ["lists", "{{eq .Env .Env}}", "a list cannot be compared with a list, at character 3"],
    [
      "an order of truth values",
      "{{lt true false}}",
      "a truth value and a truth value have no order, at character 3",
    ],
    ["too little for printf", '{{printf "%s %s" .Name}}', "printf has no value for %s, at character 3"],
    ["too much for printf", '{{printf "%s" 1 2}}', "printf has a value too many, at character 3"],
    ["a text as a number", '{{printf "%d" .Name}}', "printf cannot write a text as %d, at character 3"],
    ["an unknown verb", '{{printf "%z" .Name}}', "printf does not know %z, at character 3"],
    ["half a verb", '{{printf "100%"}}', "printf's text ends with a %, at character 3"],
    ["a wide verb", '{{printf "%9999d" 1}}', "printf takes widths up to 1024, at character 3"],
    ["a slice beyond", "{{slice .Name 2 9}}", "slice takes a number from 0 to 3, at character 3"],
  ])("%s, of this document", (_, template, message) => {
    expect(complaint(() => render(template))).toBe(message);
  });

  it("says what there is instead", () => {
    expect(() => compileDocument("{{nope .}}")).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("range, pipes and and, eq, ge") as string }),
    );
  });
});

describe("bounds", () => {
  const nested = (count: number) => `${"{{if true}}".repeat(count)}x${"{{end}}".repeat(count)}`;

  it("depth", () => {
    expect(render(nested(64))).toBe("x");
    expect(complaint(() => render(nested(65)))).toMatch(
      /^more than 64 blocks and parentheses are in each other/,
    );
    expect(complaint(() => render(`{{len ${"(".repeat(5000)}}}`))).toMatch(/^more than 64 blocks/);
  });

  it("variables", () => {
    expect(complaint(() => render("{{$x := 1}}".repeat(257)))).toMatch(/^there are more than 256 variables/);
  });

  it("steps", () => {
    const lines = compileDocument(`${"{{range $}}".repeat(4)}${"{{end}}".repeat(4)}`);
    const many = Array.from({ length: 100 }, (_, index) => index);
    expect(complaint(() => lines(many))).toMatch(/^the template takes more than 1000000 steps/);
  });

  it("output, and each text on the way to it", () => {
    const twice = '{{$x := .Name}}{{range .Many}}{{$x = printf "%s%s" $x $x}}{{end}}{{len $x}}';
    const big = { Name: "0123456789abcdef", Many: Array.from({ length: 40 }, () => 0) };
    expect(complaint(() => compileDocument(twice)(big))).toMatch(/^printf makes too long a text/);
    const long = `{{range .Many}}{{range $.Many}}{{printf "%1024s%1024s%1024s%1024s%1024s%1024s%1024s%1024s%1024s%1024s%1024s" 1 1 1 1 1 1 1 1 1 1 1}}{{end}}{{end}}`;
    expect(complaint(() => compileDocument(long)(big))).toMatch(/^the template writes more than 16777216/);
    const joined = '{{$s := printf "%1024d" 1}}{{join (split (join (split $s "") $s) "") $s}}';
    expect(complaint(() => compileDocument(joined)(big))).toMatch(/^join makes too long a text/);
  });
});
