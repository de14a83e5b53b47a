/** Programs of Debian's that a test needs; what is missing is named where it skips. */
import { execFileSync } from "node:child_process";

export function missingPrograms(...programs: readonly string[]): string[] {
  return programs.filter((program) => {
    try {
      execFileSync("which", [program], { stdio: "ignore" });
      return false;
    } catch {
      return true;
    }
  });
}
