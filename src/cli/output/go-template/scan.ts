/**
 * A template's text, cut into what is printed as it is and what is between `{{` and `}}`, in tokens.
 * `{{- ` and ` -}}` eat the white space beside them. https://pkg.go.dev/text/template#hdr-Text_and_spaces
 */
import { TemplateFault } from "./tree.ts";

export interface Token {
  readonly kind: "string" | "number" | "variable" | "field" | "dot" | "word" | "sign";
  /** Of a field and a variable without its `.` or `$`; of a string what it means. */
  readonly text: string;
  readonly at: number;
  /** Whether nothing is between it and the token before. */
  readonly isClose: boolean;
}

export type Piece =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "action"; readonly at: number; readonly tokens: readonly Token[] };

const SPACE = " \t\r\n";
const BEGIN = /\{\{(?:-(?=[ \t\r\n]))?[ \t\r\n]*/y;
const COMMENT = /\/\*[^]*?\*\//y;
const END = /[ \t\r\n]*(?:(?<=[ \t\r\n])-)?\}\}/y;
const BLANKS = /[ \t\r\n]*/y;
const TOKEN =
  /("(?:[^"\\\n]|\\.)*")|`([^`]*)`|([+-]?\d+(?:\.\d+)?)(?![\w.])|\$(\w*)|\.(\w+)|(\.)|([A-Za-z_]\w*)|(:=|[=|,()])/y;
const KINDS = ["string", "string", "number", "variable", "field", "dot", "word", "sign"] as const;
const MAX_TOKENS = 20_000;

/** `\t` and `\n` may be written with a backslash, as shells make it hard to type them otherwise. */
function unescape(text: string): string {
  return text.replaceAll("\\t", "\t").replaceAll("\\n", "\n");
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  '"': '"',
};
const ESCAPE = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))/g;

/** https://go.dev/ref/spec#String_literals */
function unquote(literal: string, at: number): string {
  const bad = (escape: string): never => {
    throw new TemplateFault(`the string ${literal} has the escape ${escape}, which there is not`, at);
  };
  return literal
    .slice(1, -1)
    .replace(ESCAPE, (escape: string, x?: string, u?: string, U?: string, octal?: string, one?: string) => {
      if (one !== undefined) return ESCAPES[one] ?? bad(escape);
      const code = octal === undefined ? Number.parseInt(x ?? u ?? U ?? "", 16) : Number.parseInt(octal, 8);
      return code > 0x10_ff_ff ? bad(escape) : String.fromCodePoint(code);
    });
}

function matchAt(pattern: RegExp, source: string, at: number): RegExpExecArray | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source) ?? undefined;
}

function trimmed(text: string, sides: { readonly start: boolean; readonly end: boolean }): string {
  let [from, to] = [0, text.length];
  while (sides.start && from < to && SPACE.includes(text[from] ?? "")) from += 1;
  while (sides.end && to > from && SPACE.includes(text[to - 1] ?? "")) to -= 1;
  return text.slice(from, to);
}

function tokenOf(match: RegExpExecArray, isClose: boolean): Token {
  const group = match.slice(1).findIndex((part) => part !== undefined);
  const part = match[group + 1] ?? "";
  const at = match.index;
  const text = group === 0 ? unquote(part, at) : group === 1 ? unescape(part) : part;
  return { kind: KINDS[group] ?? "sign", text, at, isClose };
}

interface Scanned {
  readonly tokens: readonly Token[];
  readonly isComment: boolean;
  /** Behind `}}`. */
  readonly next: number;
  readonly eatsAfter: boolean;
}

/** @param open where `{{` is @param begin where what is in it begins */
function scanAction(source: string, open: number, begin: number): Scanned {
  const comment = matchAt(COMMENT, source, begin);
  const tokens: Token[] = [];
  let at = comment === undefined ? begin : begin + comment[0].length;
  for (;;) {
    const end = matchAt(END, source, at);
    if (end !== undefined) {
      const next = at + end[0].length;
      return { tokens, isComment: comment !== undefined, next, eatsAfter: end[0].includes("-") };
    }
    if (comment !== undefined) throw new TemplateFault("a comment has to end with */}}", open);
    const from = at + (matchAt(BLANKS, source, at)?.[0].length ?? 0);
    if (from >= source.length) throw new TemplateFault("a {{ is not closed by }}", open);
    const match = matchAt(TOKEN, source, from);
    if (match === undefined)
      throw new TemplateFault(`'${source.slice(from, from + 20)}' is not understood`, from);
    if (tokens.length >= MAX_TOKENS) throw new TemplateFault("an action {{…}} is too long", open);
    tokens.push(tokenOf(match, from === at));
    at = from + match[0].length;
  }
}

/** @param start where the template begins in its text @throws TemplateFault */
export function scan(source: string, start: number): Piece[] {
  const pieces: Piece[] = [];
  let at = start;
  let eats = false;
  for (;;) {
    const open = source.indexOf("{{", at);
    const begin = open === -1 ? undefined : matchAt(BEGIN, source, open)?.[0];
    const end = begin?.startsWith("{{-") ?? false;
    const text = trimmed(unescape(source.slice(at, open === -1 ? undefined : open)), { start: eats, end });
    if (text !== "") pieces.push({ kind: "text", text });
    if (begin === undefined) return pieces;
    const { tokens, isComment, next, eatsAfter } = scanAction(source, open, open + begin.length);
    if (!isComment && tokens.length === 0) throw new TemplateFault("an action {{}} is empty", open);
    if (!isComment) pieces.push({ kind: "action", at: open, tokens });
    [at, eats] = [next, eatsAfter];
  }
}
