/**
 * Digests name content. https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md#digests
 *
 * Only algorithms that we can verify are let in, so that a `Digest` in hand is always safe in a file name.
 */
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { FlameBoxError } from "../util/error.ts";

declare const brand: unique symbol;
/** `sha256:` + 64 lower-case hex digits, or `sha512:` + 128. */
export type Digest = string & { readonly [brand]: "Digest" };

const PATTERN = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

export function isDigest(text: string): text is Digest {
  return PATTERN.test(text);
}

/** @throws FlameBoxError `invalid-digest` */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new FlameBoxError(
    "invalid-digest",
    `not a digest FlameBox can verify: ${JSON.stringify(text.slice(0, 160))}`,
    {
      hint: "use sha256: followed by 64 lower-case hexadecimal digits",
    },
  );
}

export function algorithmOf(digest: Digest): "sha256" | "sha512" {
  return digest.startsWith("sha512:") ? "sha512" : "sha256";
}

/** The part behind the colon: hexadecimal, so safe in a file name. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

export function hashFor(digest: Digest): Hash {
  return createHash(algorithmOf(digest));
}

export function digestOf(data: Uint8Array | string, algorithm: "sha256" | "sha512" = "sha256"): Digest {
  return `${algorithm}:${createHash(algorithm).update(data).digest("hex")}` as Digest;
}

/** The digest of what a finished hash has seen. */
export function digestFrom(hash: Hash, algorithm: "sha256" | "sha512" = "sha256"): Digest {
  return `${algorithm}:${hash.digest("hex")}` as Digest;
}
