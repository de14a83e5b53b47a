/** What a reader's caller gives it. */
import type { TarEntry } from "./format.ts";

/** Is told what the archive holds, in its order, synchronously. What it throws comes out of `push`. */
export interface TarHandler {
  entry(entry: TarEntry): void;
  /**
   * A run of the current entry's data: `chunk[start…end)`, valid until the call returns, belongs at `position`
   * of the unpacked file. Runs come in ascending order.
   */
  data(chunk: Uint8Array, start: number, end: number, position: number): void;
  /** The current entry is complete. */
  endEntry(): void;
}

export interface TarReaderOptions {
  /** Largest expanded size of a sparse file. Default 1 TiB. */
  readonly maxSparseBytes?: number | undefined;
  /** Let `g` headers apply to the entries behind them (POSIX). Go, and so every image tool, ignores them: default. */
  readonly applyGlobalHeaders?: boolean | undefined;
}
