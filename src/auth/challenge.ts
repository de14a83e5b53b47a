/**
 * The WWW-Authenticate header: what a server wants to see.
 * https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
 *
 *     Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull"
 *
 * Several challenges stand in one list, so that a comma may end a parameter or a challenge; a word that `=`
 * does not follow starts a new one. Nothing here throws: what cannot be read is left out, since a registry
 * with a strange second challenge should still work with its first.
 */
const MAX_HEADER_LENGTH = 16 * 1024;
const MAX_CHALLENGES = 16;

export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case, values without quotes. The first of equal names counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

// RFC 9110 section 5.6.2; sticky, so that every step looks at one place only and the whole is linear.
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const SPACE = /[ \t]*/y;
const SEPARATORS = /[ \t,]*/y;
const QUOTED = /"((?:[^"\\]|\\[\s\S])*)"/y;
/** RFC 9110 section 11.2: `Negotiate YII…==`. */
const TOKEN68 = /[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y;

/** Reads one header value from left to right. */
class Scanner {
  readonly #text: string;
  #position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get atEnd(): boolean {
    return this.#position >= this.#text.length;
  }

  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position;
    const match = pattern.exec(this.#text);
    if (!match) return undefined;
    this.#position = pattern.lastIndex;
    return match[1] ?? match[0];
  }

  /** `name = value`, or undefined with the position where it was. */
  takeParameter(): readonly [string, string] | undefined {
    const start = this.#position;
    const name = this.take(TOKEN);
    this.take(SPACE);
    if (name !== undefined && this.#text[this.#position] === "=") {
      this.#position++;
      this.take(SPACE);
      const quoted = this.take(QUOTED);
      const value = quoted === undefined ? this.take(TOKEN) : quoted.replace(/\\([\s\S])/g, "$1");
      if (value !== undefined) return [name.toLowerCase(), value];
    }
    this.#position = start;
    return undefined;
  }

  /** A name whose value could not be read is not a scheme. */
  get atEquals(): boolean {
    return this.#text[this.#position] === "=";
  }

  skipToComma(): void {
    const comma = this.#text.indexOf(",", this.#position);
    this.#position = comma === -1 ? this.#text.length : comma;
  }
}

function takeChallenge(scanner: Scanner): Challenge | undefined {
  const scheme = scanner.take(TOKEN);
  const parameters = new Map<string, string>();
  scanner.take(SPACE);
  if (scheme === undefined || scanner.atEquals) return undefined;
  let parameter = scanner.takeParameter();
  if (parameter === undefined && scanner.take(TOKEN68) === undefined) {
    scanner.take(SEPARATORS);
    parameter = scanner.takeParameter();
  }
  while (parameter !== undefined) {
    if (!parameters.has(parameter[0])) parameters.set(parameter[0], parameter[1]);
    scanner.take(SEPARATORS);
    parameter = scanner.takeParameter();
  }
  return { scheme: scheme.toLowerCase(), parameters };
}

/** The challenges of a WWW-Authenticate header (several headers joined by commas), in their order. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  const scanner = new Scanner(header.slice(0, MAX_HEADER_LENGTH));
  scanner.take(SEPARATORS);
  while (!scanner.atEnd && challenges.length < MAX_CHALLENGES) {
    const challenge = takeChallenge(scanner);
    if (challenge) challenges.push(challenge);
    else scanner.skipToComma();
    scanner.take(SEPARATORS);
  }
  return challenges;
}
