/**
 * What images are called here. A reference with a digest says nothing by its tag; an image without a name, as an
 * archive may hold one, is kept under one that nobody would give and no registry serves.
 */
import type { Digest } from "../reference/digest.ts";
import { format, parse } from "../reference/reference.ts";
import type { Reference } from "../reference/reference.ts";

const UNNAMED = "localhost/none";

/** What identifies a reference here: with a digest, the tag says nothing. */
export function canonical({ registry, repository, tag, digest }: Reference): string {
  return format({ registry, repository, ...(digest === undefined ? { tag } : { digest }) });
}

/** What an image without a name is kept under. */
export function unnamed(manifestDigest: Digest): string {
  return canonical(parse(`${UNNAMED}@${manifestDigest}`));
}

export function isUnnamed({ registry, repository, digest }: Reference): boolean {
  return digest !== undefined && `${registry}/${repository}` === UNNAMED;
}
