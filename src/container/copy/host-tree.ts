/**
 * Unpacks a container's tar archive into a folder of the host. The archive is hostile: its names are taken apart and
 * walked one by one, each from a descriptor of the directory before it and never through a symbolic link, so nothing
 * outside of the folder can be reached, whatever the archive or the folder has in it.
 *
 *     entry ─► names ─► directory (openat, O_NOFOLLOW each) ─► file, link or directory in it
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readlinkSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import type { TarEntry } from "../../formats/tar/format.ts";
import type { TarHandler } from "../../formats/tar/reader.ts";
import { FlameBoxError, messageOf, systemCode } from "../../util/error.ts";
import { quote } from "../../util/printable.ts";

export interface HostTreeOptions {
  /** What the archive's first name becomes; "" puts what is in it into the folder itself. */
  readonly as: string;
  /** The archive is of a whole root directory: its names have no first one before them. */
  readonly isRoot?: boolean | undefined;
  /** Keep owners and set-id bits; else everything is this user's. */
  readonly keepOwners: boolean;
  /** Told what cannot be copied to a host: devices, pipes. */
  readonly onSkipped: (name: string) => void;
}

const DIRECTORY_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const FILE_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const MAX_DEPTH = 1_024;
const MAX_DIRECTORIES = 1_000_000;
const SLASH = 0x2f;

/** What is done when everything is in place: a directory that may not be written to could not be filled. */
interface Finish {
  readonly names: readonly Buffer[];
  readonly entry: TarEntry;
}

export class HostTree implements TarHandler {
  readonly #root: number;
  readonly #options: HostTreeOptions;
  readonly #finishes: Finish[] = [];
  #file: { readonly fd: number; readonly entry: TarEntry } | undefined;
  /** The directory of the last entry, which is the next one's, most likely. */
  #cached: { readonly key: string; readonly fd: number } | undefined;

  constructor(dir: string, options: HostTreeOptions) {
    // Whoever says where may mean a link.
    this.#root = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#options = options;
  }

  entry(entry: TarEntry): void {
    const names = this.#namesOf(entry.name, entry);
    if (entry.type === "directory") return this.#directory(names, entry);
    const name = names.at(-1);
    if (name === undefined) throw refused(entry, "it stands for the folder itself, and is none");
    const parent = this.#descend(names.slice(0, -1), entry);
    switch (entry.type) {
      case "file":
        this.#makeWay(parent, name, entry);
        this.#file = { fd: openSync(at(parent, name), FILE_FLAGS, 0o600), entry };
        return;
      case "symlink":
        this.#makeWay(parent, name, entry);
        symlinkSync(Buffer.from(entry.linkName), at(parent, name));
        return this.#setLink(at(parent, name), entry);
      case "hardlink":
        return this.#hardLink(parent, name, entry);
      default:
        this.#options.onSkipped(text(entry.name));
    }
  }

  data(chunk: Uint8Array, start: number, end: number, position: number): void {
    if (this.#file === undefined) return;
    for (let from = start; from < end; )
      from += writeSync(this.#file.fd, chunk, from, end - from, position + from - start);
  }

  endEntry(): void {
    if (this.#file === undefined) return;
    const { fd, entry } = this.#file;
    this.#file = undefined;
    try {
      ftruncateSync(fd, entry.sizeBytes);
      this.#setAttributes(fd, entry);
    } finally {
      closeSync(fd);
    }
  }

  /** All of the archive has been given. */
  finish(): void {
    for (const { names, entry } of this.#finishes.toReversed()) {
      const fd = this.#open(names, entry);
      try {
        this.#setAttributes(fd, entry);
      } finally {
        closeSync(fd);
      }
    }
  }

  [Symbol.dispose](): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
    if (this.#cached !== undefined) closeSync(this.#cached.fd);
    this.#file = undefined;
    this.#cached = undefined;
    closeSync(this.#root);
  }

  /** The archive's own first name is replaced. @throws FlameBoxError `archive-refused` */
  #namesOf(path: Uint8Array, entry: TarEntry): Buffer[] {
    const names = split(path);
    if (path[0] === SLASH || names.some((name) => name.toString("latin1") === ".."))
      throw refused(entry, "its name leads out of the folder");
    if (names.length > MAX_DEPTH) throw refused(entry, `it is more than ${MAX_DEPTH} directories deep`);
    const rest = this.#options.isRoot === true ? names : names.slice(1);
    return this.#options.as === "" ? rest : [Buffer.from(this.#options.as), ...rest];
  }

  #directory(names: readonly Buffer[], entry: TarEntry): void {
    this.#descend(names, entry);
    // The folder that was there before keeps its owner, mode and times.
    if (names.length === 0) return;
    if (this.#finishes.length >= MAX_DIRECTORIES) throw refused(entry, "there are too many directories");
    this.#finishes.push({ names, entry });
  }

  /** The directory, made where it is missing. Its descriptor is this object's. */
  #descend(names: readonly Buffer[], entry: TarEntry): number {
    if (names.length === 0) return this.#root;
    const key = Buffer.concat(names.flatMap((name) => [name, Buffer.of(SLASH)])).toString("latin1");
    if (this.#cached?.key === key) return this.#cached.fd;
    const fd = this.#open(names, entry);
    if (this.#cached !== undefined) closeSync(this.#cached.fd);
    this.#cached = { key, fd };
    return fd;
  }

  #open(names: readonly Buffer[], entry: TarEntry): number {
    let fd = this.#root;
    try {
      for (const name of names) {
        const next = openDirectory(fd, name, entry);
        if (fd !== this.#root) closeSync(fd);
        fd = next;
      }
      return fd;
    } catch (error) {
      if (fd !== this.#root) closeSync(fd);
      throw error;
    }
  }

  /** What had the name before goes, unless it is a directory. */
  #makeWay(parent: number, name: Buffer, entry: TarEntry): void {
    let isDirectory: boolean;
    try {
      isDirectory = lstatSync(at(parent, name)).isDirectory();
    } catch (error) {
      if (systemCode(error) === "ENOENT") return;
      throw error;
    }
    if (isDirectory) throw refused(entry, "a directory has its name already");
    unlinkSync(at(parent, name));
  }

  #hardLink(parent: number, name: Buffer, entry: TarEntry): void {
    const target = this.#namesOf(entry.linkName, entry);
    const last = target.at(-1);
    if (last === undefined) throw refused(entry, "it is a link to the folder itself");
    const from = this.#open(target.slice(0, -1), entry);
    try {
      this.#makeWay(parent, name, entry);
      linkSync(at(from, last), at(parent, name));
    } catch (error) {
      throw error instanceof FlameBoxError ? error : refused(entry, `it is a link to ${messageOf(error)}`);
    } finally {
      if (from !== this.#root) closeSync(from);
    }
  }

  #setAttributes(fd: number, { mode, uid, gid, mtimeSeconds, mtimeNanoseconds }: TarEntry): void {
    const { keepOwners } = this.#options;
    if (keepOwners) fchownSync(fd, uid, gid);
    // Somebody else's set-id program is not to become this user's.
    fchmodSync(fd, mode & (keepOwners ? 0o7777 : 0o777));
    const seconds = mtimeSeconds + mtimeNanoseconds / 1e9;
    futimesSync(fd, seconds, seconds);
  }

  #setLink(path: Buffer, { uid, gid, mtimeSeconds, mtimeNanoseconds }: TarEntry): void {
    if (this.#options.keepOwners) lchownSync(path, uid, gid);
    const seconds = mtimeSeconds + mtimeNanoseconds / 1e9;
    lutimesSync(path, seconds, seconds);
  }
}

function openDirectory(parent: number, name: Buffer, entry: TarEntry): number {
  for (let isMade = false; ; isMade = true) {
    try {
      return openSync(at(parent, name), DIRECTORY_FLAGS);
    } catch (error) {
      const code = systemCode(error);
      if (code === "ENOENT" && !isMade) mkdirSync(at(parent, name), 0o700);
      else if (code === "ELOOP" || code === "ENOTDIR") throw refused(entry, whatIsThere(parent, name));
      else throw error;
    }
  }
}

function whatIsThere(parent: number, name: Buffer): string {
  try {
    return `${quote(text(name))} is a link to ${quote(readlinkSync(at(parent, name)))}`;
  } catch {
    return `${quote(text(name))} is no directory`;
  }
}

/** Node has no openat; a path through the descriptor's entry in /proc is as good. */
function at(parent: number, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${parent}/`), name]);
}

function split(path: Uint8Array): Buffer[] {
  const names: Buffer[] = [];
  const bytes = Buffer.from(path);
  for (let start = 0; start <= bytes.length; ) {
    const slash = bytes.indexOf(SLASH, start);
    const end = slash === -1 ? bytes.length : slash;
    const name = bytes.subarray(start, end);
    if (name.length > 0 && name.toString("latin1") !== ".") names.push(name);
    start = end + 1;
  }
  return names;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

function refused(entry: TarEntry, why: string): FlameBoxError {
  return new FlameBoxError("archive-refused", `${quote(text(entry.name))} cannot be copied: ${why}`);
}
