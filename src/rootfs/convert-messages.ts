/**
 * What the converter pool and its workers say to each other. Each job has a port of its own.
 *
 *     pool ── start ──► worker        pool ◄── wanted ── worker     one more chunk may be sent
 *          ── chunk ──►                    ◄── grown ──             so large is the layer now
 *          ── end / abort ──►              ◄── done / failed ──     the job is over, files closed
 */
import { FlameBoxError, messageOf, systemCode } from "../util/error.ts";
import type { Compression } from "../formats/compression/decompress.ts";
import type { Digest } from "../reference/digest.ts";
import type { ConvertedLayer, ConvertLimits, ConvertTarget, Growth } from "./convert.ts";

export type ToWorker =
  | {
      readonly type: "start";
      readonly compression: Compression;
      readonly target: ConvertTarget;
      readonly expectedDiffId?: Digest | undefined;
      readonly limits?: Partial<ConvertLimits> | undefined;
    }
  | { readonly type: "chunk"; readonly chunk: Uint8Array }
  | { readonly type: "end" }
  | { readonly type: "abort" };

export type FromWorker =
  | { readonly type: "wanted" }
  | { readonly type: "grown"; readonly growth: Growth }
  | { readonly type: "done"; readonly result: ConvertedLayer }
  | { readonly type: "failed"; readonly error: PlainError };

/** An error as it crosses between threads, where classes get lost. */
export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly code?: string | undefined;
  readonly hint?: string | undefined;
  /** Of FlameBox's own; others are failures of the system or faults of ours. */
  readonly isOwn: boolean;
}

export function plainError(error: unknown): PlainError {
  const isOwn = error instanceof FlameBoxError;
  const name = error instanceof Error ? error.name : "Error";
  return {
    name,
    message: messageOf(error),
    code: systemCode(error),
    hint: isOwn ? error.hint : undefined,
    isOwn,
  };
}

export function revivedError(plain: PlainError): Error {
  const error = plain.isOwn
    ? new FlameBoxError(plain.code ?? "unknown", plain.message, { hint: plain.hint })
    : Object.assign(new Error(plain.message), { code: plain.code });
  Object.defineProperty(error, "name", { value: plain.name });
  return error;
}
