import { FlameBoxError } from "../util/error.ts";

/** Something in the options cannot be. Codes: `no-command`, `invalid-option`, `invalid-seccomp-profile`. */
export class RuntimeSpecError extends FlameBoxError {
  override readonly name = "RuntimeSpecError";
}

/** What to throw for an option that is wrong. */
export function invalidOption(message: string, hint?: string): RuntimeSpecError {
  return new RuntimeSpecError("invalid-option", message, { hint });
}
