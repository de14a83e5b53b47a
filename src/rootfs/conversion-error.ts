import { FlameBoxError, type ErrorDetails } from "../util/error.ts";

export type ConversionErrorCode =
  | "layer-bad-name"
  | "layer-bad-link"
  | "layer-bad-owner"
  | "layer-bad-device"
  | "layer-bad-xattr"
  | "layer-too-large"
  | "layer-write-failed"
  | "layer-root-not-directory"
  | "layer-converter-died"
  | "diff-id-mismatch";

/** A layer that is readable as an archive and still cannot become a part of a root file system. */
export class ConversionError extends FlameBoxError {
  override readonly name = "ConversionError";
  declare readonly code: ConversionErrorCode;

  // oxlint-disable-next-line no-useless-constructor -- narrows the code; the rest is the base's
  constructor(code: ConversionErrorCode, message: string, details?: ErrorDetails) {
    super(code, message, details);
  }
}
