/** Programs in C of the tests' own. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { repository } from "./images/layouts.ts";

/** Compiles NAME.c of this directory into another. @throws Error without a compiler, which setup.sh installs */
export async function compile(name: string, dir: string): Promise<string> {
  const program = join(dir, name);
  const source = join(repository, "test", "support", `${name}.c`);
  await promisify(execFile)("cc", ["-O2", "-static", "-o", program, source]);
  return program;
}
