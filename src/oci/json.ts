/**
 * JSON from outside: bounded in bytes and depth, strict UTF-8, no name twice in one object.
 *
 * Duplicates are refused because readers disagree on which one counts, so that one digest could mean one
 * image to a scanner and another one to us. `null` members are dropped: the tools that write these
 * documents use null and absence alike.
 */
import { quote } from "../util/printable.ts";
import { OciError } from "./error.ts";

const MAX_DEPTH = 64;

interface JsonLimits {
  readonly maxBytes: number;
  /** What it is, for messages: `image manifest`. */
  readonly what: string;
  /** `invalid-manifest`, … */
  readonly code: string;
}

/** The first name that an object has twice, or the depth when it is too great. `text` is valid JSON. */
function findTrouble(text: string): string | undefined {
  // One set for an object, null for an array: the stack is the path.
  const open: (Set<string> | null)[] = [];
  let keyExpected = false;
  for (let i = 0; i < text.length; i++) {
    const character = text.charCodeAt(i);
    if (character === 0x22) {
      const start = i++;
      while (text.charCodeAt(i) !== 0x22) i += text.charCodeAt(i) === 0x5c ? 2 : 1;
      const names = open[open.length - 1];
      if (!keyExpected || !names) continue;
      keyExpected = false;
      const raw = text.slice(start, i + 1);
      // Escapes are undone: "lay\u0065rs" is "layers" to a reader.
      const name = raw.includes("\\") ? (JSON.parse(raw) as string) : raw.slice(1, -1);
      if (names.has(name)) return `it has ${quote(name)} twice in one object`;
      names.add(name);
    } else if (character === 0x7b || character === 0x5b) {
      open.push(character === 0x7b ? new Set() : null);
      keyExpected = character === 0x7b;
      if (open.length > MAX_DEPTH) return `it is nested more than ${MAX_DEPTH} deep`;
    } else if (character === 0x7d || character === 0x5d) {
      open.pop();
      keyExpected = false;
    } else if (character === 0x2c) {
      keyExpected = open[open.length - 1] !== null;
    }
  }
  return undefined;
}

/** @throws OciError with `limits.code` */
export function parseJson(bytes: Uint8Array, limits: JsonLimits): unknown {
  const { maxBytes, what, code } = limits;
  if (bytes.length > maxBytes) {
    throw new OciError(code, `${what} too large: ${bytes.length} bytes, at most ${maxBytes} are read`);
  }
  let value: unknown;
  let trouble: string | undefined;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text, (_, member: unknown) => (member === null ? undefined : member));
    trouble = findTrouble(text);
  } catch (cause) {
    throw new OciError(code, `${what} is not JSON`, { cause });
  }
  if (trouble) throw new OciError(code, `${what} is not acceptable: ${trouble}`);
  return value;
}
