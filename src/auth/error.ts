import { FlameBoxError } from "../util/error.ts";

/** Credentials cannot be had. Codes: `invalid-docker-config`, `credential-helper-failed`, `invalid-credentials`. */
export class AuthError extends FlameBoxError {
  override readonly name = "AuthError";
}
