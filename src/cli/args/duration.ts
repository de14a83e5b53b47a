/** Go's durations, as Docker's flags have them: `30s`, `1m30s`, `1.5h`, `500ms`. https://pkg.go.dev/time#ParseDuration */
import { UsageError } from "../failure.ts";

const UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "\u00b5s": 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

const PART = /(\d{1,12}(?:\.\d{0,9})?|\.\d{1,9})(ns|us|\u00b5s|ms|s|m|h)/y;

/** Milliseconds, 0 or at least 1. `flag` is only for the message. */
export function parseDuration(text: string, flag: string): number {
  const refuse = () =>
    new UsageError(
      `${flag} '${text}' is not a duration`,
      "write a number and ms, s, m or h, as in 30s or 1m30s",
    );
  if (text === "0") return 0;
  if (text === "") throw refuse();
  let totalMs = 0;
  PART.lastIndex = 0;
  while (PART.lastIndex < text.length) {
    const [, number, unit = ""] = PART.exec(text) ?? [];
    if (number === undefined) throw refuse();
    totalMs += Number(number) * (UNITS_MS[unit] ?? Number.NaN);
  }
  if (totalMs > 0 && totalMs < 1) throw new UsageError(`${flag} '${text}' is less than a millisecond`);
  if (!Number.isFinite(totalMs)) throw refuse();
  return totalMs;
}
