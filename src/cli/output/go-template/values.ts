/** What a template does with any value: print it, ask whether it is true, say what it is. Values are JSON's. */
import { TemplateFault } from "./tree.ts";

/** Of one text that a template makes, in UTF-16 units. */
export const MAX_TEXT_LENGTH = 16 * 1024 * 1024;

export function show(value: unknown): string {
  if (value === undefined || value === null) return "<no value>";
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return `[${value.map(show).join(" ")}]`;
  // Objects, numbers and truth values are all that JSON leaves.
  return JSON.stringify(value) ?? "<no value>";
}

/** Zero, and what is empty or not there, is false. */
export function isTrue(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return value !== undefined && value !== null && value !== false && value !== 0 && value !== "";
}

export function kindOf(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  return typeof value === "string" ? "a text" : typeof value === "number" ? "a number" : "a truth value";
}

/** Undefined for what it does not have; nothing of a prototype's is seen. */
export function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return Object.hasOwn(value, name) ? (Reflect.get(value, name) as unknown) : undefined;
}

/** Keys in order, as Go goes through maps. */
export function entriesOf(value: object): [string, unknown][] {
  return Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** @throws TemplateFault */
export function wholeNumber(value: unknown, what: string, most: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= most) return value;
  throw new TemplateFault(`${what} takes a number from 0 to ${most}`);
}
