/** In a directory that everybody can write to, another user may have made ours first, to reach what is put there. */
import { lstat } from "node:fs/promises";
import { FlameBoxError } from "./error.ts";

/** @throws FlameBoxError `runtime-dir-unsafe` */
export async function requirePrivate(dir: string): Promise<void> {
  const found = await lstat(dir);
  const isOwn = found.uid === process.geteuid?.();
  if (found.isDirectory() && isOwn && (found.mode & 0o022) === 0) return;
  throw new FlameBoxError("runtime-dir-unsafe", `${dir} can be changed by other users`, {
    hint: "remove it, or set XDG_RUNTIME_DIR or FLAMEBOX_HOME to a directory of your own",
  });
}
