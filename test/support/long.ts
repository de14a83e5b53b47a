/**
 * What is long is whole in `npm run test:long` alone: FLAMEBOX_TEST_LONG=1. `npm test` takes a part of the same tables,
 * each kind of row at least once.
 */
export const isLong = process.env["FLAMEBOX_TEST_LONG"] === "1";

/** The rows of `npm test`, and behind them those of the long run. */
export function rows<T>(always: readonly T[], whenLong: readonly T[]): T[] {
  return isLong ? [...always, ...whenLong] : [...always];
}
