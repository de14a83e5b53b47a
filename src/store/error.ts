import { FlameBoxError, systemCode } from "../util/error.ts";

/**
 * The store cannot do what it was asked. Codes: `disk-full`, `store-unusable`, `blob-mismatch`,
 * `newer-store`.
 */
export class StoreError extends FlameBoxError {
  override readonly name = "StoreError";
}

/** Converters and writers wrap what the system said, so the chain of causes is searched. */
function systemCodeWithin(error: unknown): string | undefined {
  let current = error;
  for (let depth = 0; depth < 8 && current instanceof Error; depth++) {
    const code = systemCode(current);
    if (code !== undefined && /^E[A-Z0-9]+$/.test(code)) return code;
    current = current.cause;
  }
  return undefined;
}

/** The same error, or a better one where the file system itself said no. */
export function explainDiskError(error: unknown, dir: string): unknown {
  if (error instanceof StoreError) return error;
  switch (systemCodeWithin(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return new StoreError("disk-full", `no space left in ${dir}`, {
        cause: error,
        hint: "free space there (flamebox rmi removes images), or set FLAMEBOX_HOME to a directory on a larger disk",
      });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new StoreError("store-unusable", `cannot write in ${dir}`, {
        cause: error,
        hint: "make the directory yours and writable, or set FLAMEBOX_HOME to another one",
      });
    default:
      return error;
  }
}
