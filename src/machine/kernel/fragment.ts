/**
 * Configuration fragments of a kernel: lines as in a `.config`. Kconfig silently leaves out what does not go
 * together, so what came out is held against what was asked for.
 *
 *     CONFIG_EROFS_FS=y
 *     CONFIG_NR_CPUS=256
 *     # CONFIG_MODULES is not set
 */
import { quote } from "../../util/printable.ts";
import { MachineError } from "../machine.ts";

/** By symbol, with `CONFIG_`; the value as it is written, `n` for "is not set". */
export type Settings = ReadonlyMap<string, string>;

export const MAX_FRAGMENT_BYTES = 1 << 20;

const ASSIGNMENT = /^(CONFIG_[A-Z0-9_a-z]{1,100})=(.*)$/;
const UNSET = /^# (CONFIG_[A-Z0-9_a-z]{1,100}) is not set$/;
const VALUE = /^(?:y|n|-?[0-9]{1,20}|0[xX][0-9a-fA-F]{1,16}|"(?:[^"\\\p{C}]|\\["\\]){0,1000}")$/u;

/**
 * @param name what to call the text in errors
 * @throws MachineError `bad-fragment`
 */
export function parse(text: string, name: string): Settings {
  const bad = (line: number, why: string): MachineError =>
    new MachineError("bad-fragment", `${name}, line ${line}: ${why}`, {
      hint: 'write lines such as "CONFIG_WIREGUARD=y" or "# CONFIG_SWAP is not set"',
    });
  if (text.length > MAX_FRAGMENT_BYTES) throw bad(1, `more than ${MAX_FRAGMENT_BYTES} bytes`);
  const settings = new Map<string, string>();
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trimEnd();
    const unset = UNSET.exec(line)?.[1];
    if (unset === undefined && (line === "" || line.startsWith("#"))) continue;
    const [, symbol = unset, value = "n"] = ASSIGNMENT.exec(line) ?? [];
    if (symbol === undefined) throw bad(index + 1, `${quote(line, 60)} sets nothing`);
    if (value === "m") throw bad(index + 1, `${symbol} cannot be a module: this kernel has none`);
    if (!VALUE.test(value)) throw bad(index + 1, `${symbol} has no value of y, n, a number or "text"`);
    if ((settings.get(symbol) ?? value) !== value)
      throw bad(index + 1, `${symbol} is set twice, differently`);
    settings.set(symbol, value);
  }
  return settings;
}

/** A kernel's whole `.config`, whose values are Kconfig's own. */
export function parseConfig(text: string): Settings {
  const settings = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, symbol, value] = ASSIGNMENT.exec(line) ?? [];
    if (symbol !== undefined && value !== undefined) settings.set(symbol, value);
  }
  return settings;
}

/** The text of a fragment, for Kconfig. */
export function format(settings: Settings): string {
  const lines = [...settings].map(([symbol, value]) =>
    value === "n" ? `# ${symbol} is not set\n` : `${symbol}=${value}\n`,
  );
  return lines.join("");
}

export interface Refused {
  readonly symbol: string;
  readonly wanted: string;
  /** `n` where it is off, or is not known to this kernel. */
  readonly got: string;
}

/** What was wanted and did not take. */
export function refused(wanted: Settings, config: Settings): Refused[] {
  return [...wanted]
    .map(([symbol, value]) => ({ symbol, wanted: value, got: config.get(symbol) ?? "n" }))
    .filter(({ wanted, got }) => !isSame(wanted, got));
}

function isSame(wanted: string, got: string): boolean {
  // Kconfig keeps the case of hexadecimal digits, and a person may write either.
  return wanted === got || (/^0x/i.test(wanted) && wanted.toLowerCase() === got.toLowerCase());
}

const MAX_NAMED = 8;

/** `CONFIG_A=y (is n), CONFIG_B=2 (is 1) and 3 more` */
export function describe(list: readonly Refused[]): string {
  const named = list.slice(0, MAX_NAMED).map(({ symbol, wanted, got }) => `${symbol}=${wanted} (is ${got})`);
  const more = list.length - named.length;
  return `${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
