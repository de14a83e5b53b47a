/**
 * Names in a layer, as bytes, made canonical: relative, no empty, `.` or `..` components; the root is the
 * empty name. `..` is resolved in the text and stops at the root, as umoci and containerd do (Docker refuses
 * names that leave the root; such a name cannot leave anything here, where no name ever meets a host path).
 */
import { printable } from "../formats/tar/error.ts";
import { ConversionError } from "./conversion-error.ts";

const SLASH = 0x2f;
const DOT = 0x2e;
const MAX_NAME_BYTES = 4096;
const MAX_COMPONENT_BYTES = 255;
/** A whiteout's name is that of a file with four bytes in front. */
const WHITEOUT_PREFIX = [DOT, 0x77, 0x68, DOT] as const;

/**
 * @returns `name` itself where nothing has to change
 * @throws ConversionError `layer-bad-name`
 */
export function canonicalName(name: Uint8Array): Uint8Array {
  const { length } = name;
  if (length > MAX_NAME_BYTES) throw bad(name, `is longer than ${MAX_NAME_BYTES} bytes`);
  let componentStart = 0;
  let isCanonical = true;
  for (let i = 0; i <= length; i++) {
    const byte = i === length ? SLASH : (name[i] as number);
    if (byte === 0) throw bad(name, "holds a NUL byte");
    if (byte !== SLASH) continue;
    const size = i - componentStart;
    if (size === 0 || (size <= 2 && isDots(name, componentStart, size))) isCanonical = false;
    if (size > MAX_COMPONENT_BYTES + WHITEOUT_PREFIX.length) throw tooLongComponent(name);
    componentStart = i + 1;
  }
  return isCanonical ? name : rebuilt(name);
}

function isDots(name: Uint8Array, start: number, size: number): boolean {
  return name[start] === DOT && (size === 1 || name[start + 1] === DOT);
}

function rebuilt(name: Uint8Array): Uint8Array {
  const out = new Uint8Array(name.length);
  const starts: number[] = [];
  let length = 0;
  let start = 0;
  for (let i = 0; i <= name.length; i++) {
    if (i < name.length && name[i] !== SLASH) continue;
    const size = i - start;
    if (size === 2 && isDots(name, start, size)) {
      length = starts.pop() ?? 0;
    } else if (size > 0 && !(size === 1 && isDots(name, start, size))) {
      starts.push(length);
      if (length > 0) out[length++] = SLASH;
      out.set(name.subarray(start, i), length);
      length += size;
    }
    start = i + 1;
  }
  return out.subarray(0, length);
}

/** What a canonical name means in a layer. */
export type NameMeaning =
  | { readonly kind: "entry" }
  /** Removes `target` of lower layers. */
  | { readonly kind: "whiteout"; readonly target: Uint8Array }
  /** Hides the contents that lower layers gave the directory `target`. */
  | { readonly kind: "opaque"; readonly target: Uint8Array }
  /** What AUFS kept for itself. */
  | { readonly kind: "ignored" };

const ENTRY: NameMeaning = { kind: "entry" };
const OPAQUE = Buffer.from(".wh..wh..opq");
const AUFS_PREFIX = Buffer.from(".wh..wh.");

/**
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#whiteouts
 * @throws ConversionError `layer-bad-name` for a whiteout of nothing, of `.` or of `..`, and for components that
 * are too long
 */
export function meaningOf(name: Uint8Array): NameMeaning {
  const base = name.lastIndexOf(SLASH) + 1;
  requireShortParents(name, base);
  if (!startsWith(name, base, WHITEOUT_PREFIX)) {
    if (name.length - base > MAX_COMPONENT_BYTES) throw tooLongComponent(name);
    return hasAufsComponent(name, base) ? { kind: "ignored" } : ENTRY;
  }
  const parent = name.subarray(0, Math.max(0, base - 1));
  if (startsWith(name, base, OPAQUE) && name.length === base + OPAQUE.length) {
    return hasAufsComponent(name, base) ? { kind: "ignored" } : { kind: "opaque", target: parent };
  }
  if (startsWith(name, base, AUFS_PREFIX) || hasAufsComponent(name, base)) return { kind: "ignored" };
  const hidden = name.subarray(base + WHITEOUT_PREFIX.length);
  if (hidden.length === 0 || (hidden.length <= 2 && isDots(hidden, 0, hidden.length))) {
    throw bad(name, "is a whiteout of no file");
  }
  const target = new Uint8Array(base + hidden.length);
  target.set(name.subarray(0, base));
  target.set(hidden, base);
  return { kind: "whiteout", target };
}

/** The name that a hard link points at, canonical like those of the entries. */
export function canonicalTarget(target: Uint8Array): Uint8Array {
  const name = canonicalName(target);
  const base = name.lastIndexOf(SLASH) + 1;
  requireShortParents(name, base);
  if (name.length - base > MAX_COMPONENT_BYTES) throw tooLongComponent(name);
  return name;
}

function requireShortParents(name: Uint8Array, base: number): void {
  if (base <= MAX_COMPONENT_BYTES + 1) return;
  for (let start = 0; start < base; ) {
    const end = name.indexOf(SLASH, start);
    if (end - start > MAX_COMPONENT_BYTES) throw tooLongComponent(name);
    start = end + 1;
  }
}

/** Whether a parent component is one of AUFS's own directories (`.wh..wh.plnk/…`). */
function hasAufsComponent(name: Uint8Array, base: number): boolean {
  for (let start = 0; start < base; start = name.indexOf(SLASH, start) + 1) {
    if (startsWith(name, start, AUFS_PREFIX)) return true;
  }
  return false;
}

function startsWith(name: Uint8Array, at: number, prefix: ArrayLike<number>): boolean {
  if (name.length - at < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (name[at + i] !== prefix[i]) return false;
  return true;
}

function tooLongComponent(name: Uint8Array): ConversionError {
  return bad(name, `has a component of more than ${MAX_COMPONENT_BYTES} bytes`);
}

function bad(name: Uint8Array, what: string): ConversionError {
  return new ConversionError("layer-bad-name", `the layer's entry name ${printable(name)} ${what}`);
}
