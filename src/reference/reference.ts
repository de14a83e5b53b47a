/**
 * References name images, in Docker's grammar and with Docker's defaults.
 *
 *     [registry "/"] repository [":" tag] ["@" digest]
 *     alpine                ─► docker.io / library/alpine : latest
 *     ghcr.io/me/app:2      ─► ghcr.io   / me/app         : 2
 *
 * https://github.com/distribution/reference/blob/v0.6.0/reference.go has the grammar, normalize.go beside it
 * the defaults. Two things are stricter here: registries are lower-cased, so that one registry has one name,
 * and a first component that only upper-case letters would make a host (`Foo/bar`) is refused, because it is
 * nearly always a repository typed wrongly.
 */
import { FlameBoxError } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import { isDigest } from "./digest.ts";
import type { Digest } from "./digest.ts";

declare const tagBrand: unique symbol;
/** At most 128 of letters, digits, `_`, `.` and `-`, the first neither `.` nor `-`. */
export type Tag = string & { readonly [tagBrand]: "Tag" };

declare const repositoryBrand: unique symbol;
/** Lower-case path components joined by `/`, at most 255 characters; safe in a URL as it is. */
export type Repository = string & { readonly [repositoryBrand]: "Repository" };

export interface Reference {
  /** Host name, IPv4 or bracketed IPv6 address, lower case, with a port where one was written. */
  readonly registry: string;
  readonly repository: Repository;
  /** `latest` when neither a tag nor a digest was written. */
  readonly tag?: Tag | undefined;
  /** Wins over the tag when both are there. */
  readonly digest?: Digest | undefined;
}

export const DEFAULT_REGISTRY = "docker.io";
const LEGACY_DEFAULT_REGISTRY = "index.docker.io";
const OFFICIAL_PREFIX = "library/";
const DEFAULT_TAG = "latest" as Tag;
/** Longer than any valid reference: host 255 + path 255 + tag 128 + digest 135, with separators. */
const MAX_REFERENCE_LENGTH = 1024;
const MAX_NAME_LENGTH = 255;

// In every pattern the alternatives start with different characters: matching takes linear time.
const HOST_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const REGISTRY = new RegExp(
  `^(?:${HOST_LABEL}(?:\\.${HOST_LABEL})*|\\[[0-9a-f:]{2,39}(?:\\.[0-9]{1,3}){0,3}\\])(?::([0-9]{1,5}))?$`,
);
const REPOSITORY = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

function invalid(text: string, problem: string, hint: string): FlameBoxError {
  return new FlameBoxError("invalid-reference", `invalid image reference ${quote(text)}: ${problem}`, {
    hint,
  });
}

/** Mistakes that a person makes, each with what to write instead. Looked at before the grammar. */
function refuseNearMisses(text: string): void {
  if (text === "") throw invalid(text, "it is empty", "name an image, for example alpine:3");
  if (text.length > MAX_REFERENCE_LENGTH) {
    throw invalid(text, `it has ${text.length} characters`, `at most ${MAX_REFERENCE_LENGTH} are allowed`);
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text);
  if (scheme) {
    throw invalid(text, "it is a URL", `leave out ${JSON.stringify(scheme[0])}: registry.example/name:tag`);
  }
  if (/\s/.test(text)) throw invalid(text, "it contains white space", "remove the spaces");
  if (text.endsWith(":"))
    throw invalid(text, "the tag is missing", "write a tag after the colon, or no colon");
  if (text.endsWith("@")) throw invalid(text, "the digest is missing", "write sha256:… after the @, or no @");
  if (text.endsWith("/")) throw invalid(text, "it ends with a slash", "remove the slash at the end");
  if (text.startsWith("/")) throw invalid(text, "it starts with a slash", "an image is named, not its path");
  if (/^[0-9a-f]{64}$/.test(text)) {
    throw invalid(text, "64 hexadecimal digits are an ID, not a name", "write name@sha256:DIGITS");
  }
  if (/^sha(?:256|512):[0-9a-f]+$/.test(text)) {
    throw invalid(text, "a digest alone names no image", "write name@sha256:DIGITS");
  }
}

/** Whether what stands before the first slash is a registry. */
function isHost(first: string): boolean {
  return /[.:[\]]/.test(first) || first.toLowerCase() === "localhost";
}

function splitRegistry(name: string): { registry: string; rest: string } {
  const slash = name.indexOf("/");
  const first = slash === -1 ? "" : name.slice(0, slash);
  if (!isHost(first)) return { registry: DEFAULT_REGISTRY, rest: name };
  const registry = first.toLowerCase();
  return {
    registry: registry === LEGACY_DEFAULT_REGISTRY ? DEFAULT_REGISTRY : registry,
    rest: name.slice(slash + 1),
  };
}

function splitTag(name: string): { name: string; tag: string | undefined } {
  // Behind the last slash, because a port also follows a colon.
  const colon = name.indexOf(":", name.lastIndexOf("/") + 1);
  return colon === -1 ? { name, tag: undefined } : { name: name.slice(0, colon), tag: name.slice(colon + 1) };
}

function checkRegistry(text: string, registry: string): void {
  const match = registry.length <= MAX_NAME_LENGTH ? REGISTRY.exec(registry) : null;
  const port = match?.[1] === undefined ? 1 : Number(match[1]);
  if (port < 1 || port > 65_535) throw invalid(text, `port ${port} does not exist`, "ports are 1 to 65535");
  // URLs know better what an address is: 999.1.1.1 and [::::] are none.
  if (match && URL.canParse(`https://${registry}`)) return;
  const hint = "write HOST, HOST:PORT or [IPv6]:PORT before the first slash";
  throw invalid(text, `${quote(registry)} is not a registry host`, hint);
}

function checkRepository(text: string, repository: string): Repository {
  if (repository.length > MAX_NAME_LENGTH) {
    const problem = `the repository has ${repository.length} characters`;
    throw invalid(text, problem, `at most ${MAX_NAME_LENGTH} are allowed`);
  }
  if (!REPOSITORY.test(repository)) {
    if (REPOSITORY.test(repository.toLowerCase())) {
      const hint = `write ${quote(repository.toLowerCase())}`;
      throw invalid(text, "the repository must be lower case", hint);
    }
    throw invalid(
      text,
      `${quote(repository)} is not a repository`,
      "components are lower-case letters and digits, with single . _ or any - between them",
    );
  }
  return repository as Repository;
}

export function isTag(text: string): text is Tag {
  return TAG.test(text);
}

/** @throws FlameBoxError `invalid-reference`, with a hint for the usual mistakes. */
export function parse(text: string): Reference {
  refuseNearMisses(text);
  const at = text.indexOf("@");
  const digest = at === -1 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) {
    const hint = "write @sha256: followed by 64 lower-case hexadecimal digits";
    throw invalid(text, `${quote(digest)} is not a digest FlameBox can verify`, hint);
  }
  const { name, tag = digest ? undefined : DEFAULT_TAG } = splitTag(at === -1 ? text : text.slice(0, at));
  if (tag !== undefined && !isTag(tag)) {
    const hint = "a tag is at most 128 letters, digits, _ . and -, and does not start with . or -";
    throw invalid(text, `${quote(tag)} is not a tag`, hint);
  }
  const { registry, rest } = splitRegistry(name);
  checkRegistry(text, registry);
  const official = registry === DEFAULT_REGISTRY && !rest.includes("/");
  const repository = checkRepository(text, rest);
  return {
    registry,
    repository: official ? ((OFFICIAL_PREFIX + repository) as Repository) : repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

function suffixOf({ tag, digest }: Reference): string {
  return `${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
}

/** The full form, `docker.io/library/alpine:latest`; `parse` gives the same reference back. */
export function format(reference: Reference): string {
  return `${reference.registry}/${reference.repository}${suffixOf(reference)}`;
}

/** The form people write, `alpine:latest`; `parse` gives the same reference back. */
export function familiar(reference: Reference): string {
  return familiarName(reference) + suffixOf(reference);
}

/** Names that alone, or with their tag, would be taken for an image's ID or a digest. */
const LIKE_A_DIGEST = /^(?:[0-9a-f]{64}|sha256|sha512)$/;

/** `familiar` without tag and digest. */
export function familiarName({ registry, repository }: Reference): string {
  if (registry !== DEFAULT_REGISTRY) return `${registry}/${repository}`;
  if (!repository.startsWith(OFFICIAL_PREFIX)) {
    // Docker Hub has no such names, but a reference can: without its registry, it would name another one.
    const [first = ""] = repository.split("/");
    return isHost(first) && repository.includes("/") ? `${registry}/${repository}` : repository;
  }
  const short = repository.slice(OFFICIAL_PREFIX.length);
  return short.includes("/") || LIKE_A_DIGEST.test(short) ? repository : short;
}
