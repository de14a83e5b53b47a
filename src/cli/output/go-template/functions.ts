/** The functions of templates: Go's, and Docker's besides. A piped value is the last one. */
import { printf } from "./printf.ts";
import { TemplateFault } from "./tree.ts";
import { isTrue, kindOf, MAX_TEXT_LENGTH, show, wholeNumber } from "./values.ts";

export interface TemplateFunction {
  /** Values that it takes, a piped one included. */
  readonly takes: readonly [least: number, most: number];
  /** @throws TemplateFault without a place */
  readonly apply: (...values: readonly unknown[]) => unknown;
}

const MAX_PAD = 1024;
const MANY = 16;

function join(list: unknown, separator: unknown): string {
  if (!Array.isArray(list)) return show(list);
  const between = show(separator);
  if (between.length * list.length > MAX_TEXT_LENGTH) throw new TemplateFault("join makes too long a text");
  return list.map(show).join(between);
}

/** `index x 1 "a"` is x[1]["a"]. */
function index(value: unknown, ...keys: readonly unknown[]): unknown {
  let found = value;
  for (const key of keys) {
    if (Array.isArray(found)) {
      if (typeof key !== "number" || !Number.isInteger(key))
        throw new TemplateFault(`index takes a whole number for a list, not ${kindOf(key)}`);
      if (key < 0 || key >= found.length)
        throw new TemplateFault(`index: there is no item ${key} in a list of ${found.length}`);
      found = found[key] as unknown;
    } else if (typeof found === "object" && found !== null) {
      if (typeof key !== "string")
        throw new TemplateFault(`index takes a text for a map, not ${kindOf(key)}`);
      found = Object.hasOwn(found, key) ? (Reflect.get(found, key) as unknown) : undefined;
    } else throw new TemplateFault(`index looks into lists and maps, and this is ${kindOf(found)}`);
  }
  return found;
}

function len(value: unknown): number {
  if (typeof value === "string") return Buffer.byteLength(value);
  if (typeof value === "object" && value !== null) return Object.keys(value).length;
  throw new TemplateFault(`len takes a text, a list or a map, and this is ${kindOf(value)}`);
}

function slice(value: unknown, from: unknown, to?: unknown): unknown {
  if (typeof value !== "string" && !Array.isArray(value))
    throw new TemplateFault(`slice takes a text or a list, and this is ${kindOf(value)}`);
  const end = wholeNumber(to ?? value.length, "slice", value.length);
  return value.slice(wholeNumber(from ?? 0, "slice", end), end);
}

function isEqual(a: unknown, b: unknown): boolean {
  const [left, right] = [a ?? undefined, b ?? undefined];
  if (left === undefined || right === undefined) return left === right;
  if (typeof left === "object" || typeof right === "object" || typeof left !== typeof right)
    throw new TemplateFault(`${kindOf(left)} cannot be compared with ${kindOf(right)}`);
  return left === right;
}

/** Below zero when `a` is less. */
function order(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "string" && typeof b === "string") return a === b ? 0 : a < b ? -1 : 1;
  throw new TemplateFault(`${kindOf(a)} and ${kindOf(b)} have no order`);
}

/** As Go's: blanks only between values of which neither is a text. */
function print(...values: readonly unknown[]): string {
  return values
    .map((value, at) => {
      const isApart = at > 0 && typeof value !== "string" && typeof values[at - 1] !== "string";
      return (isApart ? " " : "") + show(value);
    })
    .join("");
}

function pad(text: unknown, before: unknown, after: unknown): string {
  const blank = (count: unknown): string => " ".repeat(wholeNumber(count, "pad", MAX_PAD));
  return blank(before) + show(text) + blank(after);
}

function title(text: unknown): string {
  return show(text).replace(/(^|\s)(\S)/g, (_, gap: string, first: string) => gap + first.toUpperCase());
}

function truncate(text: unknown, length: unknown): string {
  return Array.from(show(text))
    .slice(0, wholeNumber(length, "truncate", MAX_PAD))
    .join("");
}

export const FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  // The evaluator has looked at all values but the last: those before it did not decide.
  and: { takes: [1, MANY], apply: (...values) => values.at(-1) },
  or: { takes: [1, MANY], apply: (...values) => values.at(-1) },
  not: { takes: [1, 1], apply: (value) => !isTrue(value) },
  eq: { takes: [2, MANY], apply: (value, ...others) => others.some((other) => isEqual(value, other)) },
  ne: { takes: [2, 2], apply: (a, b) => !isEqual(a, b) },
  lt: { takes: [2, 2], apply: (a, b) => order(a, b) < 0 },
  le: { takes: [2, 2], apply: (a, b) => order(a, b) <= 0 },
  gt: { takes: [2, 2], apply: (a, b) => order(a, b) > 0 },
  ge: { takes: [2, 2], apply: (a, b) => order(a, b) >= 0 },
  index: { takes: [1, MANY], apply: index },
  len: { takes: [1, 1], apply: len },
  slice: { takes: [1, 3], apply: slice },
  print: { takes: [1, MANY], apply: print },
  printf: { takes: [1, MANY], apply: printf },
  println: { takes: [1, MANY], apply: (...values) => `${values.map(show).join(" ")}\n` },
  json: { takes: [1, 1], apply: (value) => JSON.stringify(value ?? null) },
  lower: { takes: [1, 1], apply: (value) => show(value).toLowerCase() },
  upper: { takes: [1, 1], apply: (value) => show(value).toUpperCase() },
  title: { takes: [1, 1], apply: title },
  join: { takes: [2, 2], apply: join },
  split: { takes: [2, 2], apply: (text, separator) => show(text).split(show(separator)) },
  truncate: { takes: [2, 2], apply: truncate },
  pad: { takes: [3, 3], apply: pad },
};
