import { FlameBoxError } from "../util/error.ts";

/**
 * An image's documents are not what they should be. Codes: `invalid-manifest`, `invalid-index`,
 * `invalid-config`, `unsupported-media-type`, `platform-not-found`, `invalid-platform`.
 */
export class OciError extends FlameBoxError {
  override readonly name = "OciError";
}
