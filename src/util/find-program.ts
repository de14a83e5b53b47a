/** Finds a program as a shell would, and in the system directories that ordinary users lack in their PATH. */
import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";

const SYSTEM_DIRS = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];

/** Absolute path of an executable file, or undefined. */
export async function findProgram(name: string): Promise<string | undefined> {
  // The one place where the library looks at the environment: a program is found where spawning it would find it.
  const dirs = (process.env["PATH"] ?? "").split(delimiter).filter((dir) => dir.startsWith("/"));
  for (const dir of [...dirs, ...SYSTEM_DIRS]) {
    const path = join(dir, name);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Not here; the next directory may have it.
    }
  }
  return undefined;
}
