import { FlameBoxError } from "../util/error.ts";

/**
 * An image of the store cannot be had or used. Codes: `image-not-found`, `ambiguous-image-id`,
 * `image-incomplete` (pull it again), `file-exists`, `several-names` (only with force).
 */
export class ImageError extends FlameBoxError {
  override readonly name = "ImageError";
}
