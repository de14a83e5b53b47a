/**
 * `--format`: Go's text/template with Docker's functions, as far as scripts use it.
 *
 *     {{.Repository}}:{{.Tag}}             fields
 *     {{.Label "app"}}                     fields that take a value
 *     {{json .}} {{.Size | lower}}         functions and pipes
 *     {{range .Mounts}}{{.Source}}{{end}}  if, with, range, variables
 *     table {{.ID}}\t{{.Size}}             aligned columns under headings
 *     json                                 one JSON object a line
 *
 *     text ─ scan ─► pieces ─ parse ─► tree ─ evaluate ─► text        (go-template/)
 *
 * `compileTemplate` reads the text once and reports what is wrong with it; the result turns rows into text.
 * Templates of templates (`define`, `template`, `block`) and Go's escapes for the web are refused by name.
 * Syntax: https://pkg.go.dev/text/template
 */
import { UsageError } from "../failure.ts";
import { evaluate } from "./go-template/evaluate.ts";
import { FUNCTIONS } from "./go-template/functions.ts";
import { parse } from "./go-template/parse.ts";
import { TemplateFault } from "./go-template/tree.ts";
import type { Call, Expression, Node, Pipeline } from "./go-template/tree.ts";
import { renderTable } from "./table.ts";

/** What a template sees of one row: `.Repository`. */
export type TemplateRow = Readonly<Record<string, unknown>>;

/** A field of a row: its heading in a table. */
export type TemplateFields = Readonly<Record<string, string>>;

const MAX_TEMPLATE_LENGTH = 65_536;

const HINT = `fields, variables, if, with, range, pipes and ${Object.keys(FUNCTIONS).sort().join(", ")} are supported; for more, use --json with jq`;

function fail(message: string, hint = HINT): never {
  throw new UsageError(`--format: ${message}`, hint);
}

/** Where people look for it: counted from 1, in lines when there are several. */
function placeOf(source: string, at: number): string {
  const before = source.slice(0, at).split("\n");
  const column = (before.at(-1)?.length ?? 0) + 1;
  return source.includes("\n") ? `line ${before.length}, character ${column}` : `character ${column}`;
}

/** Faults of templates are the user's. @throws UsageError */
function explained<T>(source: string, job: () => T): T {
  try {
    return job();
  } catch (error) {
    if (!(error instanceof TemplateFault)) throw error;
    const { message, at, hint } = error;
    return fail(at === undefined ? message : `${message}, at ${placeOf(source, at)}`, hint);
  }
}

/** What stands behind a field that takes a value: `.Label "app"`. */
function valueOf({ name, operands }: Call): string | undefined {
  const [, value] = operands;
  return name === undefined && value?.kind === "literal" ? String(value.value) : undefined;
}

/** Every field of the row itself that is named, also behind `$`; inside `range` and `with`, `.` is another thing. */
function checkFields(nodes: readonly Node[], fields: TemplateFields, methods: readonly string[]): void {
  const names = Object.keys(fields).map((name) => `.${name}`);
  const checkPipeline = ({ calls }: Pipeline, isRow: boolean): void => {
    for (const call of calls)
      for (const operand of valueOf(call) === undefined ? call.operands : []) checkOne(operand, isRow);
  };
  const checkOne = (operand: Expression, isRow: boolean): void => {
    if (operand.kind === "pipeline") checkPipeline(operand, isRow);
    if (operand.kind !== "field") return;
    const { of, name, at } = operand;
    const isOwn = (isRow && of.kind === "dot") || (of.kind === "variable" && of.name === "");
    if (isOwn && methods.includes(name))
      throw new TemplateFault(`.${name} takes a value`, at, `write {{.${name} "NAME"}}`);
    if (isOwn && !Object.hasOwn(fields, name))
      throw new TemplateFault(`there is no field .${name}`, at, `fields here: ${names.join(" ")}`);
    checkOne(of, isRow);
  };
  const checkNodes = (list: readonly Node[], isRow: boolean): void => {
    for (const node of list) {
      if (!("pipeline" in node)) continue;
      checkPipeline(node.pipeline, isRow);
      if (node.kind === "action") continue;
      checkNodes(node.body, isRow && node.kind === "if");
      checkNodes(node.otherwise, isRow);
    }
  };
  checkNodes(nodes, true);
}

/** Of the row. */
function fieldsIn({ calls }: Pipeline): string[] {
  const namesOf = (operand: Expression): string[] => {
    if (operand.kind === "pipeline") return fieldsIn(operand);
    if (operand.kind !== "field") return [];
    return operand.of.kind === "field" || operand.of.kind === "pipeline"
      ? namesOf(operand.of)
      : [operand.name];
  };
  return calls.flatMap((call) => call.operands.flatMap(namesOf));
}

/** The heading of a table's column: the fields in it, in capitals. */
function headingOf(nodes: readonly Node[], fields: TemplateFields): string {
  return nodes
    .map((node): string => {
      if (node.kind === "text") return node.text;
      if (node.kind === "if") return headingOf(node.body, fields);
      if (!("pipeline" in node)) return "";
      const [value] = node.pipeline.calls.flatMap((call) => valueOf(call) ?? []);
      if (value !== undefined) return value.toUpperCase();
      const isSilent = node.kind === "action" && node.variable !== undefined;
      const names = isSilent ? [] : fieldsIn(node.pipeline);
      return names.map((name) => fields[name] ?? name.toUpperCase()).join(" ");
    })
    .join("");
}

export type Formatter = (rows: readonly TemplateRow[]) => string;

function splitColumns(nodes: readonly Node[]): Node[][] {
  const columns: Node[][] = [[]];
  for (const node of nodes) {
    if (node.kind !== "text") columns[columns.length - 1]?.push(node);
    else {
      for (const [index, text] of node.text.split("\t").entries()) {
        if (index > 0) columns.push([]);
        if (text !== "") columns[columns.length - 1]?.push({ kind: "text", text });
      }
    }
  }
  return columns;
}

function checkLength(source: string): void {
  if (source.length > MAX_TEMPLATE_LENGTH)
    fail(`the template has more than ${MAX_TEMPLATE_LENGTH} characters`);
}

/**
 * `fields` are the names that rows have, with their headings; `methods` those that are functions of a text. Throws UsageError for whatever is not supported, and
 * so does the result when a row does not go with the template.
 * `\t` and `\n` may be written with a backslash, as shells make it hard to type them otherwise.
 */
export function compileTemplate(
  source: string,
  fields: TemplateFields,
  methods: readonly string[] = [],
): Formatter {
  checkLength(source);
  if (source === "json") return (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const table = /^table(?:\s+|$)/.exec(source)?.[0];
  if (table === source)
    fail("table needs columns", "for example: --format 'table {{.Repository}}\\t{{.Size}}'");
  const nodes = explained(source, () => {
    const parsed = parse(source, table?.length ?? 0, methods);
    checkFields(parsed, fields, methods);
    return parsed;
  });
  if (table === undefined)
    return (rows) => explained(source, () => rows.map((row) => `${evaluate(nodes, row)}\n`).join(""));
  const columns = splitColumns(nodes);
  const heading = columns.map((column) => headingOf(column, fields));
  return (rows) =>
    explained(source, () =>
      renderTable([heading, ...rows.map((row) => columns.map((column) => evaluate(column, row)))]),
    );
}

/**
 * A template over one document of any shape, as its JSON has it: fields that it does not have are `<no value>`.
 * Throws UsageError as `compileTemplate` does.
 */
export function compileDocument(source: string): (document: object) => string {
  checkLength(source);
  if (source === "json") return (document) => `${JSON.stringify(document)}\n`;
  const nodes = explained(source, () => parse(source, 0));
  return (document) => {
    const data: unknown = JSON.parse(JSON.stringify(document));
    return explained(source, () => `${evaluate(nodes, data)}\n`);
  };
}
