/**
 * From a template's pieces to its tree. Everything that can be wrong whatever the data is shows here: functions and
 * variables that there are not, blocks that are not closed, what is too deep.
 */
import { FUNCTIONS } from "./functions.ts";
import type { Piece, Token } from "./scan.ts";
import { scan } from "./scan.ts";
import { TemplateFault } from "./tree.ts";
import type { Branch, Call, Expression, Node, Pipeline } from "./tree.ts";

const MAX_DEPTH = 64;
const MAX_VARIABLES = 256;
const KEYWORDS = new Set(["if", "with", "range", "else", "end", "break", "continue"]);
const UNSUPPORTED = new Set(["define", "template", "block", "html", "js", "urlquery", "call"]);
const LITERALS: ReadonlyMap<string, boolean | null> = new Map([
  ["true", true],
  ["false", false],
  ["nil", null],
]);

type ActionPiece = Extract<Piece, { readonly kind: "action" }>;

/** The first word of `{{if .X}}`, when it is one of those that build. */
function keywordOf(piece: ActionPiece): string | undefined {
  const first = piece.tokens[0];
  return first?.kind === "word" && KEYWORDS.has(first.text) ? first.text : undefined;
}

/** Of one action: what is left to read of it. */
class Cursor {
  readonly open: number;
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor({ at, tokens }: ActionPiece) {
    this.open = at;
    this.#tokens = tokens;
  }

  peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#next + ahead];
  }

  take(): Token | undefined {
    const token = this.peek();
    this.#next += 1;
    return token;
  }

  isSign(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token?.kind === "sign" && token.text === text;
  }

  /** @throws TemplateFault when something is left */
  finish(): void {
    const token = this.peek();
    if (token !== undefined) throw new TemplateFault(`${nameOf(token)} is not understood here`, token.at);
  }
}

function nameOf({ kind, text }: Token): string {
  if (kind === "string") return JSON.stringify(text);
  return `'${kind === "field" ? "." : kind === "variable" ? "$" : ""}${text}'`;
}

class Parser {
  readonly #pieces: readonly Piece[];
  readonly #methods: readonly string[];
  #next = 0;
  #depth = 0;
  #loops = 0;
  /** Those that can be seen; the last ones are the innermost. */
  #variables: string[] = [];

  constructor(pieces: readonly Piece[], methods: readonly string[]) {
    this.#pieces = pieces;
    this.#methods = methods;
  }

  template(): Node[] {
    const { nodes, stop } = this.#nodes();
    if (stop === undefined) return nodes;
    throw new TemplateFault(`{{${keywordOf(stop) ?? ""}}} has no if, with or range before it`, stop.at);
  }

  /** Up to the `else` or `end` that belongs to whoever asks. */
  #nodes(): { readonly nodes: Node[]; readonly stop: ActionPiece | undefined } {
    const nodes: Node[] = [];
    for (;;) {
      const piece = this.#pieces[this.#next++];
      if (piece === undefined) return { nodes, stop: undefined };
      const keyword = piece.kind === "text" ? undefined : keywordOf(piece);
      if (piece.kind === "text") nodes.push(piece);
      else if (keyword === "else" || keyword === "end") return { nodes, stop: piece };
      else nodes.push(this.#node(piece, keyword));
    }
  }

  #node(piece: ActionPiece, keyword: string | undefined): Node {
    const cursor = new Cursor(piece);
    if (keyword === undefined) return this.#action(cursor);
    cursor.take();
    if (keyword === "if" || keyword === "with" || keyword === "range") return this.#branch(keyword, cursor);
    if (this.#loops === 0) throw new TemplateFault(`{{${keyword}}} is not in a range`, piece.at);
    cursor.finish();
    return { kind: keyword === "break" ? "break" : "continue", at: piece.at };
  }

  #action(cursor: Cursor): Node {
    const at = cursor.open;
    const names = this.#targets(cursor, 1);
    if (names === undefined) {
      const pipeline = this.#whole(cursor);
      return { kind: "action", at, variable: undefined, isNew: false, pipeline };
    }
    const [name = ""] = names.list;
    if (!names.isNew) this.#know(name, at);
    const pipeline = this.#whole(cursor);
    if (names.isNew) this.#declare([name], at);
    return { kind: "action", at, variable: name, isNew: names.isNew, pipeline };
  }

  /** `$x :=`, `$k, $v :=`, and `$x =`; undefined when there is none of them. */
  #targets(
    cursor: Cursor,
    most: number,
  ): { readonly list: readonly string[]; readonly isNew: boolean } | undefined {
    const count = cursor.isSign(",", 1) ? 2 : 1;
    const sign = cursor.peek(2 * count - 1);
    const tokens = Array.from({ length: count }, (_, index) => cursor.peek(2 * index));
    if (!tokens.every((token) => token?.kind === "variable") || sign?.kind !== "sign") return undefined;
    if (sign.text !== ":=" && sign.text !== "=") return undefined;
    if (count > most) throw new TemplateFault("only range sets two variables", sign.at);
    const list = tokens.map((token) => token?.text ?? "");
    if (list.includes("")) throw new TemplateFault("a variable has a name behind its $", sign.at);
    for (let taken = 0; taken < 2 * count; taken += 1) cursor.take();
    return { list, isNew: sign.text === ":=" };
  }

  #branch(kind: Branch["kind"], cursor: Cursor): Branch {
    const at = cursor.open;
    const outside = this.#variables.length;
    const targets = this.#targets(cursor, kind === "range" ? 2 : 1);
    if (targets?.isNew === false)
      throw new TemplateFault(`{{${kind}}} makes variables with :=, and does not set others`, at);
    const variables = targets?.list ?? [];
    const pipeline = this.#whole(cursor);
    this.#declare(variables, at);
    return this.#deeper(at, () => {
      const inside = this.#variables.length;
      if (kind === "range") this.#loops += 1;
      const { nodes: body, stop } = this.#nodes();
      if (kind === "range") this.#loops -= 1;
      this.#variables.length = inside;
      const otherwise = this.#otherwise(kind, at, stop);
      this.#variables.length = outside;
      return { kind, at, variables, pipeline, body, otherwise };
    });
  }

  /** What is behind `{{else}}`; nothing, when `stop` is the `{{end}}`. */
  #otherwise(kind: string, at: number, stop: ActionPiece | undefined): readonly Node[] {
    if (stop === undefined) throw new TemplateFault(`the {{${kind}}} is not closed by {{end}}`, at);
    const cursor = new Cursor(stop);
    const word = cursor.take()?.text;
    const next = cursor.peek();
    if (word === "else" && next?.kind === "word" && (next.text === "if" || next.text === "with")) {
      cursor.take();
      // It is closed by the same {{end}}.
      return [this.#branch(next.text, cursor)];
    }
    cursor.finish();
    if (word === "end") return [];
    const { nodes, stop: end } = this.#nodes();
    if (end === undefined) throw new TemplateFault(`the {{${kind}}} is not closed by {{end}}`, at);
    if (keywordOf(end) !== "end") throw new TemplateFault(`the {{${kind}}} has a second {{else}}`, end.at);
    new Cursor({ ...end, tokens: end.tokens.slice(1) }).finish();
    return nodes;
  }

  #whole(cursor: Cursor): Pipeline {
    const pipeline = this.#pipeline(cursor);
    cursor.finish();
    return pipeline;
  }

  #pipeline(cursor: Cursor): Pipeline {
    const at = cursor.peek()?.at ?? cursor.open;
    const calls = [this.#call(cursor, 0)];
    while (cursor.isSign("|")) {
      cursor.take();
      calls.push(this.#call(cursor, 1));
    }
    return { kind: "pipeline", at, calls };
  }

  /** @param piped how many values come from the call before */
  #call(cursor: Cursor, piped: number): Call {
    const first = cursor.peek();
    const at = first?.at ?? cursor.open;
    const isFunction = first?.kind === "word" && !LITERALS.has(first.text);
    if (isFunction) cursor.take();
    const name = isFunction ? functionName(first) : undefined;
    const operands: Expression[] = [];
    for (;;) {
      const token = cursor.peek();
      if (token === undefined || cursor.isSign("|") || cursor.isSign(")")) break;
      if (token.isClose && (operands.length > 0 || name !== undefined))
        throw new TemplateFault(`a blank is missing before ${nameOf(token)}`, token.at);
      operands.push(this.#operand(cursor));
    }
    checkCall({ name, operands, at }, piped, this.#methods);
    return { name, operands, at };
  }

  #operand(cursor: Cursor): Expression {
    const token = cursor.take();
    if (token === undefined) throw new TemplateFault("something is missing", cursor.open);
    let value = this.#simple(token, cursor);
    for (let next = cursor.peek(); next?.kind === "field" && next.isClose; next = cursor.peek()) {
      if (value.kind === "literal" || value.kind === "dot")
        throw new TemplateFault(`${nameOf(token)} has no fields`, next.at);
      cursor.take();
      value = { kind: "field", at: next.at, of: value, name: next.text };
    }
    return value;
  }

  #simple(token: Token, cursor: Cursor): Expression {
    const { kind, text, at } = token;
    if (kind === "string") return { kind: "literal", at, value: text };
    if (kind === "number") return { kind: "literal", at, value: Number(text) };
    if (kind === "dot") return { kind: "dot", at };
    if (kind === "field") return { kind: "field", at, of: { kind: "dot", at }, name: text };
    if (kind === "variable") {
      this.#know(text, at);
      return { kind: "variable", at, name: text };
    }
    if (kind === "word") {
      const value = LITERALS.get(text);
      if (value !== undefined) return { kind: "literal", at, value };
      functionName(token);
      throw new TemplateFault(`the function '${text}' and its values have to be in parentheses here`, at);
    }
    if (text !== "(") throw new TemplateFault(`${nameOf(token)} is not understood here`, at);
    const inner = this.#deeper(at, () => this.#pipeline(cursor));
    if (!cursor.isSign(")")) throw new TemplateFault("a ( is not closed by )", at);
    cursor.take();
    return inner;
  }

  #declare(names: readonly string[], at: number): void {
    this.#variables.push(...names);
    if (this.#variables.length > MAX_VARIABLES)
      throw new TemplateFault(`there are more than ${MAX_VARIABLES} variables`, at);
  }

  #know(name: string, at: number): void {
    if (name !== "" && !this.#variables.includes(name))
      throw new TemplateFault(`there is no variable $${name}`, at);
  }

  #deeper<T>(at: number, job: () => T): T {
    if (this.#depth >= MAX_DEPTH)
      throw new TemplateFault(`more than ${MAX_DEPTH} blocks and parentheses are in each other`, at);
    this.#depth += 1;
    const result = job();
    this.#depth -= 1;
    return result;
  }
}

function functionName({ text, at }: Token): string {
  if (UNSUPPORTED.has(text) || KEYWORDS.has(text))
    throw new TemplateFault(`{{${text}}} is not supported here`, at);
  if (!Object.hasOwn(FUNCTIONS, text)) throw new TemplateFault(`there is no function '${text}'`, at);
  return text;
}

function checkCall({ name, operands, at }: Call, piped: number, methods: readonly string[]): void {
  if (name === undefined) {
    const [first, second, third] = operands;
    if (piped > 0) throw new TemplateFault("a pipe leads into something that is not a function", at);
    if (operands.length === 0) throw new TemplateFault("a value is missing", at);
    const isMethod = first?.kind === "field" && methods.includes(first.name);
    if (isMethod && second?.kind === "literal" && third === undefined) return;
    if (isMethod && second !== undefined)
      throw new TemplateFault(`.${first.name} takes one value`, at, `write {{.${first.name} "NAME"}}`);
    if (second !== undefined && first?.kind === "field" && methods.length > 0)
      throw new TemplateFault(`.${first.name} takes no value`, second.at);
    if (second !== undefined)
      throw new TemplateFault(`${operands.length} values have no function`, second.at);
    return;
  }
  const count = operands.length + piped;
  const [least, most] = FUNCTIONS[name]?.takes ?? [0, 0];
  if (count >= least && count <= most) return;
  const wanted = least === most ? `${least}` : `${least} to ${most}`;
  throw new TemplateFault(`${name} takes ${wanted} value${most === 1 ? "" : "s"}, got ${count}`, at);
}

/**
 * @param start where the template begins in its text
 * @param methods the fields that take a value: `.Label "app"`
 * @throws TemplateFault
 */
export function parse(source: string, start: number, methods: readonly string[] = []): readonly Node[] {
  return new Parser(scan(source, start), methods).template();
}
