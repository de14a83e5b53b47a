/** Carries a template's tree out on one row or document. Steps and output have bounds; depth has the parser's. */
import { FUNCTIONS } from "./functions.ts";
import { TemplateFault } from "./tree.ts";
import type { Branch, Call, Expression, Node, Pipeline } from "./tree.ts";
import { entriesOf, fieldOf, isTrue, kindOf, MAX_TEXT_LENGTH, show } from "./values.ts";

const MAX_STEPS = 1_000_000;

interface Variable {
  readonly name: string;
  value: unknown;
  readonly outer: Scope;
}

/** The variables that can be seen, the innermost first. */
type Scope = Variable | undefined;

type Jump = "break" | "continue" | undefined;

class Evaluation {
  readonly #root: unknown;
  readonly #written: string[] = [];
  #length = 0;
  #steps = 0;

  constructor(root: unknown) {
    this.#root = root;
  }

  get text(): string {
    return this.#written.join("");
  }

  nodes(nodes: readonly Node[], dot: unknown, outer: Scope): Jump {
    let scope = outer;
    for (const node of nodes) {
      if (node.kind === "text") this.#write(node.text);
      else if (node.kind === "break" || node.kind === "continue") return node.kind;
      else if (node.kind === "action") {
        const value = this.#pipeline(node.pipeline, dot, scope);
        if (node.variable === undefined) this.#write(show(value), node.at);
        else if (node.isNew) scope = { name: node.variable, value, outer: scope };
        else assign(scope, node.variable, value);
      } else {
        const jump = this.#branch(node, dot, scope);
        if (jump !== undefined) return jump;
      }
    }
    return undefined;
  }

  #branch(branch: Branch, dot: unknown, scope: Scope): Jump {
    const { kind, variables, pipeline, body, otherwise } = branch;
    const value = this.#pipeline(pipeline, dot, scope);
    if (kind === "range") return this.#range(branch, value, dot, scope);
    const [name] = variables;
    const inner = name === undefined ? scope : { name, value, outer: scope };
    if (!isTrue(value)) return this.nodes(otherwise, dot, inner);
    return this.nodes(body, kind === "with" ? value : dot, inner);
  }

  #range({ variables, body, otherwise, at }: Branch, value: unknown, dot: unknown, scope: Scope): Jump {
    const isObject = typeof value === "object" && value !== null;
    if (!isObject && value !== undefined && value !== null)
      throw new TemplateFault(`range goes through lists and maps, and this is ${kindOf(value)}`, at);
    const items = Array.isArray(value) ? [...value.entries()] : isObject ? entriesOf(value) : [];
    if (items.length === 0) return this.nodes(otherwise, dot, scope);
    const [first, second] = variables;
    for (const [key, item] of items) {
      this.#step(at);
      let inner = scope;
      if (second !== undefined) inner = { name: first ?? "", value: key, outer: inner };
      const name = second ?? first;
      if (name !== undefined) inner = { name, value: item, outer: inner };
      if (this.nodes(body, item, inner) === "break") break;
    }
    return undefined;
  }

  #pipeline({ calls }: Pipeline, dot: unknown, scope: Scope): unknown {
    let piped: readonly unknown[] = [];
    for (const call of calls) piped = [this.#call(call, piped, dot, scope)];
    return piped[0];
  }

  #call({ name, operands, at }: Call, piped: readonly unknown[], dot: unknown, scope: Scope): unknown {
    this.#step(at);
    const values: unknown[] = [];
    for (const operand of operands) {
      const value = this.#value(operand, dot, scope);
      // What is behind the value that decides may be wrong for this row: `and .Health (gt .Health.Streak 1)`.
      if ((name === "and" && !isTrue(value)) || (name === "or" && isTrue(value))) return value;
      values.push(value);
    }
    if (name === undefined) return called(values);
    try {
      return this.#bounded(FUNCTIONS[name]?.apply(...values, ...piped), at);
    } catch (error) {
      if (!(error instanceof TemplateFault) || error.at !== undefined) throw error;
      throw new TemplateFault(error.message, at, error.hint);
    }
  }

  #value(expression: Expression, dot: unknown, scope: Scope): unknown {
    const { kind } = expression;
    if (kind === "dot") return dot;
    if (kind === "literal") return expression.value;
    if (kind === "pipeline") return this.#pipeline(expression, dot, scope);
    if (kind === "field") return fieldOf(this.#value(expression.of, dot, scope), expression.name);
    return expression.name === "" ? this.#root : lookUp(scope, expression.name)?.value;
  }

  #bounded(value: unknown, at: number): unknown {
    if (typeof value === "string" && value.length > MAX_TEXT_LENGTH)
      throw new TemplateFault("the template makes too long a text", at);
    return value;
  }

  #step(at: number): void {
    this.#steps += 1;
    if (this.#steps > MAX_STEPS)
      throw new TemplateFault(`the template takes more than ${MAX_STEPS} steps`, at);
  }

  #write(text: string, at?: number): void {
    this.#length += text.length;
    if (this.#length > MAX_TEXT_LENGTH)
      throw new TemplateFault(`the template writes more than ${MAX_TEXT_LENGTH} characters`, at);
    this.#written.push(text);
  }
}

/** A field that takes a value is a function; of documents none is. */
function called([value, argument]: readonly unknown[]): unknown {
  return typeof value === "function" ? (value as (argument: unknown) => unknown)(argument) : value;
}

function lookUp(scope: Scope, name: string): Variable | undefined {
  let variable = scope;
  while (variable !== undefined && variable.name !== name) variable = variable.outer;
  return variable;
}

function assign(scope: Scope, name: string, value: unknown): void {
  const variable = lookUp(scope, name);
  if (variable !== undefined) variable.value = value;
}

/** @throws TemplateFault for what the data does not allow, and for what goes beyond all bounds */
export function evaluate(nodes: readonly Node[], data: unknown): string {
  const evaluation = new Evaluation(data);
  evaluation.nodes(nodes, data, undefined);
  return evaluation.text;
}
