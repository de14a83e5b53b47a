/**
 * What a user may write where an image is wanted: a reference, or a place on this host.
 *
 *     oci:DIR[:NAME]   oci-archive:FILE[:NAME]   docker-archive:FILE[:NAME]   dir:DIR   docker://REFERENCE
 *     dir:DIR   tar:FILE     a root file system without an image around it
 *
 * The spellings are those of skopeo and podman: a path ends at its first colon, and @N is the Nth image. What dir: names
 * is known by what is in it (open.ts); tar: is our own.
 * https://github.com/containers/image/blob/main/docs/containers-transports.5.md
 */
import { FlameBoxError } from "../util/error.ts";
import { quote } from "../util/printable.ts";

export type LocationKind = "oci" | "oci-archive" | "docker-archive" | "dir" | "tar";

export interface Location {
  readonly kind: LocationKind;
  /** As written: relative to where the command was given. */
  readonly path: string;
  /** Which of several images: a tag, a reference, `@0`. */
  readonly name?: string | undefined;
}

const PATTERN = /^(oci|oci-archive|docker-archive|dir|tar):([\s\S]*)$/;
const DOCKER = "docker://";

function invalid(text: string, problem: string, hint: string): FlameBoxError {
  return new FlameBoxError("invalid-reference", `${quote(text)} names no image: ${problem}`, { hint });
}

/**
 * Undefined for a reference, which `referenceText` has then.
 * @throws FlameBoxError `invalid-reference`
 */
export function parseLocation(text: string): Location | undefined {
  const match = PATTERN.exec(text);
  if (match === null) return undefined;
  const kind = match[1] as LocationKind;
  const rest = match[2] ?? "";
  // There is one image in these, so that a colon is part of the path.
  const colon = kind === "dir" || kind === "tar" ? -1 : rest.indexOf(":");
  const path = colon === -1 ? rest : rest.slice(0, colon);
  const name = colon === -1 ? "" : rest.slice(colon + 1);
  if (path === "") {
    const hint = `write ${kind}:PATH; for an image called ${kind}, docker.io/library/${kind}:TAG`;
    throw invalid(text, "the path is missing", hint);
  }
  if (path.includes("\0")) throw invalid(text, "its path holds a NUL", "no path does");
  return { kind, path, ...(name === "" ? {} : { name }) };
}

/** The reference in what is no location: skopeo's `docker://` may stand before it. */
export function referenceText(text: string): string {
  return text.startsWith(DOCKER) ? text.slice(DOCKER.length) : text;
}

export function formatLocation({ kind, path, name }: Location): string {
  return `${kind}:${path}${name === undefined ? "" : `:${name}`}`;
}
