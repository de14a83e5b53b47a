import { UsageError } from "../../src/cli/failure.ts";

/** The result, or undefined when it was refused properly. */
export function taken<T>(job: () => T): T | undefined {
  try {
    return job();
  } catch (error) {
    if (error instanceof UsageError) return undefined;
    throw error;
  }
}
