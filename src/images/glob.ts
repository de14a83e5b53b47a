/**
 * Patterns of names, as Docker's filters have them: Go's path.Match. `*` and `?` stay within a component; `[a-z]`,
 * `[^0-9]`, and `\` before what is to be itself. https://pkg.go.dev/path#Match
 */

type Token = "star" | ((character: string) => boolean);

export type Glob = (text: string) => boolean;

interface Cursor {
  readonly characters: readonly string[];
  at: number;
}

/** One character of a class, the escape before it taken; undefined where there is none. */
function classCharacter(cursor: Cursor): string | undefined {
  const first = cursor.characters[cursor.at++];
  if (first === "-" || first === "]") return undefined;
  return first === "\\" ? cursor.characters[cursor.at++] : first;
}

/** What follows `[`. */
function classToken(cursor: Cursor): Token | undefined {
  const { characters } = cursor;
  const isNegated = characters[cursor.at] === "^";
  if (isNegated) cursor.at++;
  const ranges: (readonly [low: string, high: string])[] = [];
  while (ranges.length === 0 || characters[cursor.at] !== "]") {
    const low = classCharacter(cursor);
    if (low === undefined) return undefined;
    if (characters[cursor.at] !== "-") {
      ranges.push([low, low]);
      continue;
    }
    cursor.at++;
    const high = classCharacter(cursor);
    if (high === undefined) return undefined;
    ranges.push([low, high]);
  }
  cursor.at++;
  const isIn = (one: string) =>
    ranges.some(([low, high]) => codeOf(low) <= codeOf(one) && codeOf(one) <= codeOf(high));
  return (one) => isIn(one) !== isNegated;
}

function codeOf(character: string): number {
  return character.codePointAt(0) ?? 0;
}

function tokensOf(pattern: string): Token[] | undefined {
  const cursor: Cursor = { characters: Array.from(pattern), at: 0 };
  const tokens: Token[] = [];
  while (cursor.at < cursor.characters.length) {
    const character = cursor.characters[cursor.at++];
    if (character === "*") tokens.push("star");
    else if (character === "?") tokens.push((one) => one !== "/");
    else if (character === "[") {
      const token = classToken(cursor);
      if (token === undefined) return undefined;
      tokens.push(token);
    } else {
      const literal = character === "\\" ? cursor.characters[cursor.at++] : character;
      if (literal === undefined) return undefined;
      tokens.push((one) => one === literal);
    }
  }
  return tokens;
}

/** Time is at most the product of both lengths: only the last star is tried again. */
function matches(tokens: readonly Token[], characters: readonly string[]): boolean {
  let token = 0;
  let at = 0;
  let star: { readonly token: number; at: number } | undefined;
  while (at < characters.length || token < tokens.length) {
    const wanted = tokens[token];
    const one = characters[at];
    if (wanted === "star") star = { token: token++, at };
    else if (wanted !== undefined && one !== undefined && wanted(one)) {
      token++;
      at++;
    } else {
      const taken = star && characters[star.at];
      if (star === undefined || taken === undefined || taken === "/") return false;
      at = ++star.at;
      token = star.token + 1;
    }
  }
  return true;
}

/** @returns undefined for a pattern that is none, as `[a` and `a\` */
export function parseGlob(pattern: string): Glob | undefined {
  const tokens = tokensOf(pattern);
  return tokens && ((text) => matches(tokens, Array.from(text)));
}
