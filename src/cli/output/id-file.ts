/** `--cidfile`: a file that a container's id is written to. One that is there already is somebody else's. */
import { constants, openSync, writeSync } from "node:fs";
import { UsageError } from "../failure.ts";

export interface IdFile {
  write(id: string): void;
}

/** Opened before anything is done, so that nothing has been done when it cannot be. @throws UsageError */
export async function openIdFile(path: string | undefined): Promise<IdFile | undefined> {
  if (path === undefined) return undefined;
  try {
    const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o666);
    return { write: (id) => void writeSync(fd, id) };
  } catch (error) {
    throw new UsageError(
      `--cidfile '${path}' cannot be made: ${error instanceof Error ? error.message : String(error)}`,
      "remove it if its container is gone, or name another file",
    );
  }
}
