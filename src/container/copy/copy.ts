/**
 * Copies between a container and the host, with the rules of `docker cp`.
 * https://docs.docker.com/reference/cli/docker/container/cp/
 *
 *     source ─► tar ─► destination           its first name becomes what the destination is to be called
 */
import { stat } from "node:fs/promises";
import { posix } from "node:path";
import { Readable } from "node:stream";
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { TarReader } from "../../formats/tar/reader.ts";
import { FlameBoxError, systemCode } from "../../util/error.ts";
import { quote } from "../../util/printable.ts";
import type { ContainerContents, FileStat } from "../contents.ts";
import { hostArchive } from "./host-archive.ts";
import { HostTree } from "./host-tree.ts";

export interface CopyOptions {
  /** Keep owners; else what comes to the host is this user's, and what goes into a container is root's. */
  readonly archive?: boolean | undefined;
  /** Whether a link that is named as the source is followed. */
  readonly followLink?: boolean | undefined;
  /** One line a person should see: what could not be taken along. */
  readonly onNotice?: ((notice: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Place {
  /** Where it goes. */
  readonly dir: string;
  /** What it is called there; "" for what is in a directory. */
  readonly as: string;
}

interface Source {
  readonly path: string;
  readonly isDirectory: boolean;
}

interface Destination {
  readonly path: string;
  /** Undefined when it is not there. */
  readonly isDirectory: boolean | undefined;
}

const ROOTS = { owner: { uid: 0, gid: 0 } } as const;

/** `src/.` means what is in it. */
function isContents(path: string): boolean {
  return path === "." || path.endsWith("/.");
}

/** @throws FlameBoxError `copy-refused` */
export function placeOf(source: Source, destination: Destination): Place {
  const { path, isDirectory } = destination;
  if (isDirectory === true) {
    if (source.isDirectory && isContents(source.path)) return { dir: path, as: "" };
    const name = posix.basename(posix.resolve("/", source.path));
    return { dir: path, as: name === "" ? "" : name };
  }
  if (source.isDirectory && isDirectory === false)
    throw refused(`${quote(path)} is no directory, and a directory is to be copied to it`);
  if (isDirectory === undefined && path.endsWith("/") && !source.isDirectory)
    throw refused(`there is no directory ${quote(path)}`);
  const whole = posix.normalize(path).replace(/(.)\/+$/, "$1");
  return { dir: posix.dirname(whole), as: posix.basename(whole) };
}

function refused(what: string): FlameBoxError {
  return new FlameBoxError("copy-refused", what);
}

async function hostDestination(path: string): Promise<Destination> {
  try {
    return { path, isDirectory: (await stat(path)).isDirectory() };
  } catch (error) {
    if (systemCode(error) === "ENOENT") return { path, isDirectory: undefined };
    throw error;
  }
}

async function containerDestination(
  contents: ContainerContents,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Destination> {
  try {
    return { path, isDirectory: (await contents.stat(path, { follow: true, signal })).kind === "directory" };
  } catch (error) {
    if (error instanceof FlameBoxError && error.code === "path-not-found")
      return { path, isDirectory: undefined };
    throw error;
  }
}

/** Paths of a container's are absolute, or count from its root. */
function inContainer(path: string): string {
  const absolute = posix.resolve("/", path);
  return path.endsWith("/") && absolute !== "/" ? `${absolute}/` : absolute;
}

/**
 * @param to a path of the host's
 * @throws FlameBoxError `path-not-found`, `copy-refused`, `archive-refused`
 */
export async function copyFromContainer(
  contents: ContainerContents,
  from: string,
  to: string,
  options: CopyOptions = {},
): Promise<{ readonly stat: FileStat }> {
  const { followLink = false, archive: keepOwners = false, onNotice = () => {}, signal } = options;
  const follow = followLink || isContents(from);
  const { stat: found, stream } = await contents.archive(inContainer(from), { follow, signal });
  try {
    const source = { path: from, isDirectory: found.kind === "directory" };
    const { dir, as } = placeOf(source, await hostDestination(to));
    const onSkipped = (name: string) =>
      onNotice(`${name} is neither file nor folder nor link, and is left out`);
    using tree = new HostTree(dir, { as, isRoot: inContainer(from) === "/", keepOwners, onSkipped });
    const reader = new TarReader(tree);
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      signal?.throwIfAborted();
      reader.push(chunk);
    }
    reader.finish();
    tree.finish();
    return { stat: found };
  } catch (error) {
    throw systemCode(error) === "ENOENT" ? refused(`there is no directory for ${quote(to)}`) : error;
  } finally {
    stream.destroy();
  }
}

/** The tar archive itself, to a stream that is left open. */
export async function archiveFromContainer(
  contents: ContainerContents,
  from: string,
  out: Writable,
  { followLink = false, signal }: CopyOptions = {},
): Promise<void> {
  const follow = followLink || isContents(from);
  const { stream } = await contents.archive(inContainer(from), { follow, signal });
  await pipeline(stream, out, { end: false, ...(signal && { signal }) });
}

/**
 * @param from a path of the host's
 * @throws FlameBoxError `copy-source-failed`, `copy-refused`, `path-not-found`, `failed`
 */
export async function copyToContainer(
  contents: ContainerContents,
  from: string,
  to: string,
  options: CopyOptions = {},
): Promise<void> {
  const { followLink: follow = false, archive: keepOwners = false, onNotice = () => {}, signal } = options;
  const found = await stat(from).catch((error: unknown) => {
    throw new FlameBoxError("copy-source-failed", `${quote(from)} cannot be copied: there is no such file`, {
      cause: error,
    });
  });
  const source = { path: from, isDirectory: found.isDirectory() };
  const { dir, as } = placeOf(source, await containerDestination(contents, inContainer(to), signal));
  const onSkipped = (path: string) => onNotice(`${path} is a socket or a device, and is left out`);
  const archive = Readable.from(hostArchive(from, { as, follow: follow || isContents(from), onSkipped }));
  await contents.extract(dir, archive, { ...(!keepOwners && ROOTS), signal });
}

/** A tar archive of the caller's into a directory of the container's. */
export async function archiveToContainer(
  contents: ContainerContents,
  archive: Readable,
  to: string,
  { archive: keepOwners = false, signal }: CopyOptions = {},
): Promise<void> {
  await contents.extract(inContainer(to), archive, { ...(!keepOwners && ROOTS), signal });
}
