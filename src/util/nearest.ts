/** What somebody may have meant: the candidate that takes the fewest edits, if that is few enough. */

/** Words longer than this are no misspelling of ours. */
const MAX_LENGTH = 64;

/** Edits, of which the exchange of two neighbours is one. https://en.wikipedia.org/wiki/Damerau–Levenshtein_distance */
function distance(from: string, to: string): number {
  let before: number[] = [];
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      const isSwapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      const swapped = isSwapped ? (before[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      next.push(Math.min(replaced, swapped, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    [before, row] = [row, next];
  }
  return row[to.length] ?? 0;
}

export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (word === "" || word.length > MAX_LENGTH) return undefined;
  let best: string | undefined;
  // A third of the letters may be wrong; more, and it is another word.
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const edits = distance(word, candidate);
    if (edits < bestDistance) [best, bestDistance] = [candidate, edits];
  }
  return best;
}
