/**
 * The keys that leave a container: `ctrl-p,ctrl-q`, in the grammar of `docker run --detach-keys`.
 * https://docs.docker.com/reference/cli/docker/container/attach/#detach-keys
 *
 *     keys ─► KeySequence ─┬─► what belongs to the container
 *                          └─► held back, while it may be the beginning of the sequence
 *
 * The sequence is found wherever it comes, in however many pieces; of what turns out not to be it, nothing is lost.
 */
import { UsageError } from "../failure.ts";
import { printable } from "../output/text.ts";

export const DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q";
const DELETE = 127;
/** What stands behind `ctrl-`, each at its code. */
const CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_";
const MAX_KEYS = 64;

/**
 * @param text keys between commas: one ASCII character, `ctrl-` with a letter or one of `@[\]^_`, or `DEL`.
 *   Empty: no keys, so that every key reaches the container.
 * @throws UsageError
 */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === "") return new Uint8Array();
  const keys = text.split(",");
  if (keys.length > MAX_KEYS) throw new UsageError(`--detach-keys has more than ${MAX_KEYS} keys`);
  return Uint8Array.from(keys, (key) => {
    const code = codeOf(key);
    if (code === undefined)
      throw new UsageError(
        `--detach-keys '${printable(text)}': '${printable(key)}' is not a key`,
        "write single characters, ctrl-a to ctrl-z, ctrl-@, ctrl-[, ctrl-\\, ctrl-], ctrl-^, ctrl-_ or DEL, with commas between them",
      );
    return code;
  });
}

function codeOf(key: string): number | undefined {
  if (key === "DEL") return DELETE;
  if (key.length === 1) {
    const code = key.charCodeAt(0);
    return code <= DELETE ? code : undefined;
  }
  const control = key.startsWith("ctrl-") && key.length === 6 ? CONTROLS.indexOf(key.slice(5)) : -1;
  return control < 0 ? undefined : control;
}

export interface Keys {
  /** For the container. */
  readonly pass: Uint8Array;
  /** Behind `pass`, the sequence was pressed; `rest` came after it and has not been looked at. */
  readonly detach: boolean;
  readonly rest: Uint8Array;
}

const NONE = new Uint8Array();

/** Finds one sequence in a stream of keys. Each key is looked at a bounded number of times (Knuth, Morris, Pratt). */
export class KeySequence {
  readonly #sequence: Uint8Array;
  /** Length of the longest end of the first n keys that is also their beginning, for n = index + 1. */
  readonly #borders: readonly number[];
  #matched = 0;

  /** @param sequence empty: never found */
  constructor(sequence: Uint8Array) {
    this.#sequence = sequence;
    this.#borders = bordersOf(sequence);
  }

  feed(keys: Uint8Array): Keys {
    if (this.#sequence.length === 0) return { pass: keys, detach: false, rest: NONE };
    const heldBefore = this.#matched;
    for (const [index, key] of keys.entries()) {
      while (this.#matched > 0 && key !== this.#sequence[this.#matched])
        this.#matched = this.#borders[this.#matched - 1] ?? 0;
      if (key === this.#sequence[this.#matched]) this.#matched++;
      if (this.#matched < this.#sequence.length) continue;
      this.#matched = 0;
      const seen = heldBefore + index + 1;
      const pass = this.#seen(heldBefore, keys, seen - this.#sequence.length);
      return { pass, detach: true, rest: keys.subarray(index + 1) };
    }
    const pass = this.#seen(heldBefore, keys, heldBefore + keys.length - this.#matched);
    return { pass, detach: false, rest: NONE };
  }

  /** No more keys come: what was held back is the container's. */
  flush(): Uint8Array {
    const held = this.#sequence.slice(0, this.#matched);
    this.#matched = 0;
    return held;
  }

  /** The first `length` of what was held back, which is the sequence's own beginning, and of these keys. */
  #seen(held: number, keys: Uint8Array, length: number): Uint8Array {
    if (held === 0) return keys.subarray(0, length);
    return Uint8Array.of(
      ...this.#sequence.subarray(0, Math.min(held, length)),
      ...keys.subarray(0, Math.max(0, length - held)),
    );
  }
}

function bordersOf(sequence: Uint8Array): number[] {
  const borders = [0];
  let border = 0;
  for (let index = 1; index < sequence.length; index++) {
    while (border > 0 && sequence[index] !== sequence[border]) border = borders[border - 1] ?? 0;
    if (sequence[index] === sequence[border]) border++;
    borders.push(border);
  }
  return borders;
}
