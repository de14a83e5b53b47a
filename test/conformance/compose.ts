/** Many rows in one container: their scripts as one, and its output cut into theirs. */
import type { Base, Row, Shown } from "./row.ts";
import { bases, prelude } from "./row.ts";

/** Control characters that no row prints: before a row's output, and between it and its exit code. */
const BEGIN = "\u001e";
const END = "\u001f";

export interface RowResult {
  readonly output: string;
  readonly code: number;
}

export function rowsFor(base: Base, rows: readonly Row[]): readonly Row[] {
  return rows.filter(({ images = bases }) => images.includes(base));
}

/** For `sh -c`. */
export function compose(rows: readonly Row[]): string {
  const parts = rows.map(
    ({ script }) => `printf '\\036'\n(\n${script}\n) 2>&1 </dev/null\nprintf '\\037%s' "$?"\n`,
  );
  return `${prelude}${parts.join("")}`;
}

/** One result a row, as far as the container came. A terminal's carriage returns are taken out. */
export function cut(stdout: string): RowResult[] {
  const utf8 = Buffer.from(stdout, "latin1").toString();
  return utf8
    .replaceAll("\r\n", "\n")
    .split(BEGIN)
    .slice(1)
    .map((part) => {
      const [output = "", code = ""] = part.split(END);
      return { output: output.trim(), code: code === "" ? Number.NaN : Number(code) };
    });
}

export function shownOn(base: Base, shows: Shown): string | RegExp {
  if (typeof shows === "string") return shows.trim();
  return shows instanceof RegExp ? shows : shows[base].trim();
}

export function matches(output: string, shows: string | RegExp): boolean {
  return typeof shows === "string" ? output.trim() === shows.trim() : shows.test(output);
}
