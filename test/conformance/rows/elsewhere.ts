/** Lines, or parts of them, that other tests show. */
import type { Elsewhere } from "../row.ts";

export const elsewhere: readonly Elsewhere[] = [];
