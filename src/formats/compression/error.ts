import { FlameBoxError, type ErrorDetails } from "../../util/error.ts";

export type CompressionErrorCode =
  | "gzip-corrupt"
  | "gzip-truncated"
  | "gzip-trailing-garbage"
  | "gzip-too-many-members"
  | "zstd-corrupt"
  | "zstd-failed"
  | "decompressed-too-large";

export class CompressionError extends FlameBoxError {
  override readonly name = "CompressionError";
  declare readonly code: CompressionErrorCode;

  // oxlint-disable-next-line no-useless-constructor -- narrows the code; the rest is the base's
  constructor(code: CompressionErrorCode, message: string, details?: ErrorDetails) {
    super(code, message, details);
  }
}
