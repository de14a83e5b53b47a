import { FlameBoxError } from "../util/error.ts";
import type { ErrorDetails } from "../util/error.ts";

export interface SourceErrorDetails extends ErrorDetails {
  /** HTTP status, where one was answered. */
  readonly status?: number | undefined;
  /** How long the server asked to wait (Retry-After), in milliseconds. */
  readonly retryAfterMs?: number | undefined;
}

/**
 * An image cannot be had from its source. Codes: `image-not-found`, `blob-not-found`, `unauthorized`,
 * `denied`, `too-many-requests`, `registry-unreachable`, `registry-timeout`, `registry-error` (a status that
 * is no answer), `invalid-response` (an answer that breaks the protocol), `unsafe-redirect`, `unsafe-address`,
 * `tls-error`,
 * `size-mismatch`, `digest-mismatch`; of a directory of this host `tree-unreadable`, `tree-changed`, `tree-too-large`.
 */
export class SourceError extends FlameBoxError {
  override readonly name = "SourceError";
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: string, message: string, details: SourceErrorDetails = {}) {
    super(code, message, details);
    this.status = details.status;
    this.retryAfterMs = details.retryAfterMs;
  }
}
