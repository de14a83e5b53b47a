/**
 * `--format`: the part of Go's text/template that Docker's users type.
 *
 *     {{.Repository}}:{{.Tag}}      fields
 *     {{.Label "app"}}              fields that take a value
 *     {{json .}} {{.Size | lower}}  functions and pipes: json lower upper title join split truncate pad println
 *     table {{.ID}}\t{{.Size}}      aligned columns under headings
 *     json                          one JSON object a line
 *
 * `compileTemplate` reads the text once and reports everything that is wrong with it; the result turns rows
 * into text. Control structures (`if`, `range`, `with`, variables) are refused by name.
 * Syntax: https://pkg.go.dev/text/template
 */
import { UsageError } from "../failure.ts";
import { renderTable } from "./table.ts";

/** What a template sees of one row: `.Repository`. */
export type TemplateRow = Readonly<Record<string, unknown>>;

/** A field of a row: its heading in a table. */
export type TemplateFields = Readonly<Record<string, string>>;

type Operand =
  | { readonly kind: "field"; readonly path: readonly string[] }
  | { readonly kind: "literal"; readonly value: string | number };

interface Call {
  readonly name: string | undefined;
  readonly operands: readonly Operand[];
}

type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "action"; readonly calls: readonly Call[] };

const MAX_TEMPLATE_LENGTH = 65_536;
const MAX_PAD = 1024;

const HINT =
  "fields, json, lower, upper, title, join, split, truncate, pad, println and pipes are supported; for more, use --json with jq";

function fail(message: string, hint = HINT): never {
  throw new UsageError(`--format: ${message}`, hint);
}

function asNumber(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > MAX_PAD) {
    fail(`${what} takes a number from 0 to ${MAX_PAD}`);
  }
  return value;
}

function show(value: unknown): string {
  if (value === undefined || value === null) return "<no value>";
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return `[${value.map(show).join(" ")}]`;
  if (typeof value === "object") return JSON.stringify(value);
  // Numbers and truth values are all that JSON leaves.
  return JSON.stringify(value) ?? "<no value>";
}

interface TemplateFunction {
  /** Arguments it takes, piped value included. */
  readonly takes: readonly [least: number, most: number];
  readonly apply: (...values: readonly unknown[]) => unknown;
}

const FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  json: { takes: [1, 1], apply: (value) => JSON.stringify(value ?? null) },
  lower: { takes: [1, 1], apply: (value) => show(value).toLowerCase() },
  upper: { takes: [1, 1], apply: (value) => show(value).toUpperCase() },
  title: {
    takes: [1, 1],
    apply: (value) =>
      show(value).replace(/(^|\s)(\S)/g, (_, gap: string, first: string) => gap + first.toUpperCase()),
  },
  join: {
    takes: [2, 2],
    apply: (list, separator) => (Array.isArray(list) ? list.map(show).join(show(separator)) : show(list)),
  },
  split: { takes: [2, 2], apply: (text, separator) => show(text).split(show(separator)) },
  truncate: {
    takes: [2, 2],
    apply: (text, length) => Array.from(show(text)).slice(0, asNumber(length, "truncate")).join(""),
  },
  pad: {
    takes: [3, 3],
    apply: (text, before, after) => {
      const blank = (count: unknown) => " ".repeat(asNumber(count, "pad"));
      return blank(before) + show(text) + blank(after);
    },
  },
  println: { takes: [1, 8], apply: (...values) => `${values.map(show).join(" ")}\n` },
};

const UNSUPPORTED = new Set([
  "if",
  "else",
  "end",
  "range",
  "with",
  "define",
  "template",
  "block",
  "break",
  "continue",
]);

const TOKEN =
  /\s*(?:(\|)|("(?:[^"\\]|\\.)*")|`([^`]*)`|(-?\d+)(?![\w.])|(\.(?:\w+(?:\.\w+)*)?)(?![\w.])|([A-Za-z_]\w*))/y;

function parseString(literal: string): string {
  try {
    return JSON.parse(literal) as string;
  } catch {
    return fail(`the string ${literal} has an escape that is not supported`);
  }
}

function parseAction(source: string): Call[] {
  const text = source.trim();
  if (text === "") fail("an action {{}} is empty");
  const calls: { name: string | undefined; operands: Operand[] }[] = [{ name: undefined, operands: [] }];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) return fail(`{{${text}}} is not understood at '${text.slice(at).trim()}'`);
    const call = calls[calls.length - 1];
    if (call === undefined) break;
    const [, pipe, quoted, raw, number, field, word] = match;
    const isFirst = call.name === undefined && call.operands.length === 0;
    if (pipe !== undefined) {
      if (isFirst) fail(`{{${text}}} has nothing before a pipe`);
      calls.push({ name: undefined, operands: [] });
    } else if (word !== undefined) {
      if (UNSUPPORTED.has(word)) fail(`{{${word}}} is not supported`);
      if (!Object.hasOwn(FUNCTIONS, word) || !isFirst) fail(`there is no function '${word}'`);
      call.name = word;
    } else if (field !== undefined) {
      call.operands.push({ kind: "field", path: field === "." ? [] : field.slice(1).split(".") });
    } else if (number !== undefined) {
      call.operands.push({ kind: "literal", value: Number(number) });
    } else {
      call.operands.push({
        kind: "literal",
        value: quoted === undefined ? (raw ?? "") : parseString(quoted),
      });
    }
  }
  for (const [index, call] of calls.entries()) checkCall(call, index, text);
  return calls;
}

/** The field's name in `.Label "app"`, and the value. */
function methodOf({ name, operands }: Call): readonly [name: string, value: string] | undefined {
  const [field, value, ...rest] = operands;
  if (name !== undefined || field?.kind !== "field" || value?.kind !== "literal" || rest.length > 0)
    return undefined;
  const [method, ...inner] = field.path;
  return method === undefined || inner.length > 0 ? undefined : [method, show(value.value)];
}

function checkMethods(nodes: readonly Node[], methods: readonly string[]): void {
  for (const call of nodes.flatMap((node) => (node.kind === "text" ? [] : node.calls))) {
    const [method] = methodOf(call) ?? [];
    if (method !== undefined && !methods.includes(method)) fail(`.${method} takes no value`);
    const bare = call.operands.find(
      (operand) => operand.kind === "field" && methods.includes(operand.path[0] ?? ""),
    );
    if (method === undefined && bare !== undefined)
      fail("a field that takes a value has none", `write {{.${methods.join(" ")} "NAME"}}`);
  }
}

function checkCall(call: Call, index: number, text: string): void {
  const count = call.operands.length + (index > 0 ? 1 : 0);
  if (call.name === undefined) {
    if (index > 0) fail(`{{${text}}} pipes into something that is not a function`);
    if (count !== 1 && methodOf(call) === undefined) fail(`{{${text}}} has ${count} values and no function`);
    return;
  }
  const [least, most] = FUNCTIONS[call.name]?.takes ?? [0, 0];
  if (count < least || count > most)
    fail(`${call.name} takes ${least} value${least === 1 ? "" : "s"}, got ${count}`);
}

/** Splits at `{{…}}`; `{{-` and `-}}` eat the white space beside them, `{{slash-star … star-slash}}` is a comment. */
function parseNodes(template: string): Node[] {
  const nodes: Node[] = [];
  let at = 0;
  let eatLeading = false;
  for (;;) {
    const open = template.indexOf("{{", at);
    let text = template.slice(at, open === -1 ? undefined : open);
    if (eatLeading) text = text.trimStart();
    if (open === -1) {
      if (text !== "") nodes.push({ kind: "text", text });
      return nodes;
    }
    const close = template.indexOf("}}", open + 2);
    if (close === -1) fail("a {{ is not closed by }}");
    let body = template.slice(open + 2, close);
    if (/^-\s/.test(body)) {
      text = text.trimEnd();
      body = body.slice(1);
    }
    eatLeading = /\s-$/.test(body);
    if (eatLeading) body = body.slice(0, -1);
    if (text !== "") nodes.push({ kind: "text", text });
    if (!/^\s*\/\*[^]*\*\/\s*$/.test(body)) nodes.push({ kind: "action", calls: parseAction(body) });
    at = close + 2;
  }
}

function checkFields(nodes: readonly Node[], fields: TemplateFields, methods: readonly string[]): void {
  for (const node of nodes) {
    if (node.kind === "text") continue;
    const calls = node.calls.filter((call) => !methods.includes(methodOf(call)?.[0] ?? ""));
    for (const operand of calls.flatMap((call) => call.operands)) {
      const root = operand.kind === "field" ? operand.path[0] : undefined;
      if (root !== undefined && !Object.hasOwn(fields, root)) {
        fail(
          `there is no field .${root}`,
          `fields here: ${Object.keys(fields)
            .map((name) => `.${name}`)
            .join(" ")}`,
        );
      }
    }
  }
}

function resolve(operand: Operand, row: TemplateRow): unknown {
  if (operand.kind === "literal") return operand.value;
  let value: unknown = row;
  for (const name of operand.path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = Reflect.get(value, name);
  }
  return value;
}

function evaluate(calls: readonly Call[], row: TemplateRow): string {
  let piped: unknown[] = [];
  for (const call of calls) {
    const [method, value] = methodOf(call) ?? [];
    if (method !== undefined) {
      const field = row[method];
      piped = [typeof field === "function" ? (field as (value: unknown) => unknown)(value) : undefined];
      continue;
    }
    const values = [...call.operands.map((operand) => resolve(operand, row)), ...piped];
    piped = [call.name === undefined ? values[0] : FUNCTIONS[call.name]?.apply(...values)];
  }
  return show(piped[0]);
}

/** The heading of a table's column: the fields in it, in capitals. */
function headingOf(nodes: readonly Node[], fields: TemplateFields): string {
  return nodes
    .map((node) => {
      if (node.kind === "text") return node.text;
      const [, value] = node.calls.map(methodOf).find((method) => method !== undefined) ?? [];
      if (value !== undefined) return value.toUpperCase();
      const operands = node.calls.flatMap((call) => call.operands);
      const names = operands.flatMap((operand) => (operand.kind === "field" ? operand.path.slice(0, 1) : []));
      return names.map((name) => fields[name] ?? name.toUpperCase()).join(" ");
    })
    .join("");
}

export type Formatter = (rows: readonly TemplateRow[]) => string;

function splitColumns(nodes: readonly Node[]): Node[][] {
  const columns: Node[][] = [[]];
  for (const node of nodes) {
    if (node.kind === "action") columns[columns.length - 1]?.push(node);
    else {
      for (const [index, text] of node.text.split("\t").entries()) {
        if (index > 0) columns.push([]);
        if (text !== "") columns[columns.length - 1]?.push({ kind: "text", text });
      }
    }
  }
  return columns;
}

function expand(nodes: readonly Node[], row: TemplateRow): string {
  return nodes.map((node) => (node.kind === "text" ? node.text : evaluate(node.calls, row))).join("");
}

/**
 * `fields` are the names that rows have, with their headings; `methods` those that are functions of a text. Throws UsageError for whatever is not supported.
 * `\t` and `\n` may be written with a backslash, as shells make it hard to type them otherwise.
 */
export function compileTemplate(
  source: string,
  fields: TemplateFields,
  methods: readonly string[] = [],
): Formatter {
  if (source.length > MAX_TEMPLATE_LENGTH)
    fail(`the template has more than ${MAX_TEMPLATE_LENGTH} characters`);
  if (source === "json") return (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const isTable = /^table(\s|$)/.test(source);
  const template = (isTable ? source.slice("table".length).trimStart() : source)
    .replaceAll("\\t", "\t")
    .replaceAll("\\n", "\n");
  if (isTable && template === "")
    fail("table needs columns", "for example: --format 'table {{.Repository}}\\t{{.Size}}'");
  const nodes = parseNodes(template);
  checkMethods(nodes, methods);
  checkFields(nodes, fields, methods);
  if (!isTable) return (rows) => rows.map((row) => `${expand(nodes, row)}\n`).join("");
  const columns = splitColumns(nodes);
  const heading = columns.map((column) => headingOf(column, fields));
  return (rows) => renderTable([heading, ...rows.map((row) => columns.map((column) => expand(column, row)))]);
}

/** A template over one document of any shape: fields that it does not have are `<no value>`. */
export function compileDocument(source: string): (document: object) => string {
  if (source.length > MAX_TEMPLATE_LENGTH)
    fail(`the template has more than ${MAX_TEMPLATE_LENGTH} characters`);
  if (source === "json") return (document) => `${JSON.stringify(document)}\n`;
  const nodes = parseNodes(source.replaceAll("\\t", "\t").replaceAll("\\n", "\n"));
  checkMethods(nodes, []);
  return (document) => `${expand(nodes, document as TemplateRow)}\n`;
}
