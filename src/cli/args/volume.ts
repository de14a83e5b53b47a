/** `--volume HOST:PATH[:ro]`. */
import { resolve } from "node:path";
import { UsageError } from "../failure.ts";
import type { BindMount } from "../library.ts";

export function parseVolume(argument: string): BindMount {
  const [source = "", target = "", mode = "rw", ...rest] = argument.split(":");
  const absolute = /^\.{0,2}\//.test(source) && target.startsWith("/");
  if (!absolute || rest.length > 0 || (mode !== "rw" && mode !== "ro"))
    throw new UsageError(
      `--volume '${argument}' is not a host folder in the container`,
      "write HOST:PATH or HOST:PATH:ro, as in ./src:/src:ro",
    );
  return { source: resolve(source), target, readonly: mode === "ro" };
}
