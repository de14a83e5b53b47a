/** Content descriptors. https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md */
import * as v from "valibot";
import { isDigest } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import type { Platform } from "./platform.ts";

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly platform?: Platform | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** 1 TiB: no layer is larger, and every sum of sizes in an image stays an exact integer. */
export const MAX_BLOB_BYTES = 2 ** 40;

/** RFC 6838 section 4.2 bounds and spells a media type; what is let in is safe to print. */
export const mediaTypeSchema = v.pipe(
  v.string(),
  v.regex(
    /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/,
    "no media type",
  ),
);

export const digestSchema = v.pipe(
  v.string(),
  v.custom<Digest>((text) => isDigest(text as string), "no digest FlameBox can verify"),
);

/** An index may hold platforms with empty strings or words of its own; they simply never match. */
const platformSchema = v.object({
  os: v.optional(v.pipe(v.string(), v.maxLength(64)), ""),
  architecture: v.optional(v.pipe(v.string(), v.maxLength(64)), ""),
  variant: v.optional(v.pipe(v.string(), v.maxLength(64))),
});

export const annotationsSchema = v.record(v.string(), v.string());

export const descriptorSchema = v.object({
  mediaType: mediaTypeSchema,
  digest: digestSchema,
  size: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(MAX_BLOB_BYTES)),
  platform: v.optional(platformSchema),
  annotations: v.optional(annotationsSchema),
});
