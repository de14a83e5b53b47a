import { FlameBoxError, messageOf, systemCode } from "../util/error.ts";

/**
 * The store cannot do what it was asked. Codes: `disk-full`, `disk-failing`, `too-many-files`, `store-unusable`,
 * `blob-mismatch`.
 */
export class StoreError extends FlameBoxError {
  override readonly name = "StoreError";
}

/** Converters and writers wrap what the system said, so the chain of causes is searched. */
function* causesOf(error: unknown): Generator<Error> {
  let current = error;
  for (let depth = 0; depth < 8 && current instanceof Error; depth++) {
    yield current;
    current = current.cause;
  }
}

function saysOneOf(error: unknown, codes: RegExp): boolean {
  for (const cause of causesOf(error)) if (codes.test(systemCode(cause) ?? "")) return true;
  return false;
}

export function isDiskFull(error: unknown): boolean {
  return saysOneOf(error, /^(?:ENOSPC|EDQUOT)$/);
}

/** Only errors about a file in `dir`: a firewall says EACCES and EPERM, too. */
function isRefused(error: unknown, dir: string): boolean {
  for (const cause of causesOf(error)) {
    const about = "path" in cause && typeof cause.path === "string" ? cause.path : undefined;
    if (about?.startsWith(dir) && /^(?:EACCES|EPERM|EROFS)$/.test(systemCode(cause) ?? "")) return true;
  }
  return false;
}

const MOVE_HINT = "set FLAMEBOX_HOME to a directory on another disk";

/** The same error, or a better one where the file system itself said no to a write in `dir`. */
export function explainDiskError(error: unknown, dir: string, otherPlace = MOVE_HINT): unknown {
  if (error instanceof StoreError) return error;
  if (isDiskFull(error)) {
    return new StoreError("disk-full", `no space left in ${dir}`, {
      cause: error,
      hint: `free space there (flamebox rmi removes images), or ${otherPlace}`,
    });
  }
  if (saysOneOf(error, /^EIO$/)) {
    return new StoreError("disk-failing", `the disk that has ${dir} fails: ${messageOf(error)}`, {
      cause: error,
      hint: `look at the kernel's messages (dmesg), and ${otherPlace}`,
    });
  }
  if (saysOneOf(error, /^E[MN]FILE$/)) {
    return new StoreError("too-many-files", `no more files can be opened, in ${dir}`, {
      cause: error,
      hint: "raise the limit of open files (ulimit -n), or run less at once",
    });
  }
  if (isRefused(error, dir)) {
    return new StoreError("store-unusable", `cannot write in ${dir}`, {
      cause: error,
      hint: `make the directory yours and writable, or ${otherPlace}`,
    });
  }
  return error;
}
