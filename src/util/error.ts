/**
 * The base of every error that FlameBox raises on purpose, and what one tells besides its code.
 *
 * `message` says what failed, on what, and (where there are two sides) got and want. `hint` says what the
 * reader can do. Neither ever holds a secret. `temporary` is what retry asks: true only when the same call
 * may succeed later without anybody changing anything.
 */
export interface ErrorDetails {
  /** What the reader can do about it, one sentence. */
  readonly hint?: string | undefined;
  /** The same call may succeed later by itself (a reset connection, a 503). */
  readonly temporary?: boolean | undefined;
  readonly cause?: unknown;
}

/** What FlameBox raises on purpose: what failed, on what, and what can be done. Any other error is a defect. */
export class FlameBoxError extends Error {
  override readonly name: string = "FlameBoxError";
  /** A stable kebab-case word for programs: `image-not-found`, `digest-mismatch`. */
  readonly code: string;
  readonly hint: string | undefined;
  readonly temporary: boolean;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.temporary = details.temporary ?? false;
  }
}

/** The `code` of a Node system error (`ENOENT`), or undefined. */
export function systemCode(error: unknown): string | undefined {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return undefined;
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
