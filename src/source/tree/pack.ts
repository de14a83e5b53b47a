/**
 * A directory of this host as the archive of a root file system, as `tar --sort=name --numeric-owner -c .` would write
 * it: the same tree gives the same bytes, so that it is known again by its digest.
 *
 *     directory ─► names in order of their bytes ─► lstat ─► header ─► a file's data, as long as its size says
 *         └── by its descriptor, never through a symbolic link ──┘
 *
 * Owners, modes, times to the nanosecond, hard links, devices and FIFOs are taken over. What a layer cannot hold is
 * left out, with a word: sockets, names that stand for whiteouts there, and what is mounted below. Node has no call that
 * reads extended attributes, and tar leaves them out as well unless it is told otherwise.
 */
import type { BigIntStats } from "node:fs";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  opendirSync,
  readSync,
  readlinkSync,
} from "node:fs";
import { setImmediate } from "node:timers/promises";
import { END_BYTES, encodeHeader, paddingOf } from "../../formats/tar/encode.ts";
import type { TypeFlag } from "../../formats/tar/encode.ts";
import { messageOf, systemCode } from "../../util/error.ts";
import { quote } from "../../util/printable.ts";
import { SourceError } from "../error.ts";

export interface TreeLimits {
  /** As many as a layer may have. */
  readonly maxEntries: number;
  /** Of the archive. */
  readonly maxBytes: number;
  /** Each level keeps a descriptor open. */
  readonly maxDepth: number;
}

export const TREE_LIMITS: TreeLimits = { maxEntries: 2_000_000, maxBytes: 128 * 2 ** 30, maxDepth: 512 };

export interface PackOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told of each thing that is left out, one line. */
  readonly onNotice?: ((notice: string) => void) | undefined;
  readonly limits?: Partial<TreeLimits> | undefined;
}

const CHUNK_BYTES = 256 * 1024;
const DIRECTORY_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** What was a file a moment ago may be a FIFO now, which nobody might ever write to. */
const FILE_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
const WHITEOUT = ".wh.";
const UNREADABLE_HINT =
  "run it as a user that may read everything, or leave it out: tar -C DIR --exclude=… -c . | flamebox import - NAME";

const TYPES: readonly (readonly [kind: number, type: TypeFlag])[] = [
  [constants.S_IFREG, "0"],
  [constants.S_IFLNK, "2"],
  [constants.S_IFCHR, "3"],
  [constants.S_IFBLK, "4"],
  [constants.S_IFDIR, "5"],
  [constants.S_IFIFO, "6"],
];

/** The kernel's numbers in one, as the C library has them: makedev(3). */
function deviceOf(rdev: bigint): { readonly devMajor: number; readonly devMinor: number } {
  return {
    devMajor: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)),
    devMinor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)),
  };
}

/** A place in the tree: `path` leads there through the descriptor of its directory, `name` is for the archive. */
interface Place {
  readonly path: Buffer;
  /** From the root on, without a slash at either end. Empty for the root. */
  readonly name: Buffer;
  readonly status: BigIntStats;
}

interface Handle extends Disposable {
  readonly fd: number;
}

const SLASH = Buffer.from("/");

/** Node has no openat; a path through the descriptor's entry in /proc is as good. */
function below(directory: Handle, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${directory.fd}/`), name]);
}

function isSame(a: BigIntStats, b: BigIntStats): boolean {
  return a.ino === b.ino && a.dev === b.dev;
}

class Packer {
  readonly #root: string;
  readonly #options: PackOptions;
  readonly #limits: TreeLimits;
  /** What has several names, by device and inode: the first of them. */
  readonly #links = new Map<string, Buffer>();
  #entries = 0;
  #bytes = 0;

  constructor(root: string, options: PackOptions) {
    this.#root = root;
    this.#options = options;
    this.#limits = { ...TREE_LIMITS, ...options.limits };
  }

  *all(): Generator<Uint8Array, void, undefined> {
    // Whoever says where may mean a link.
    using directory = this.#open(Buffer.alloc(0), this.#root, constants.O_RDONLY | constants.O_DIRECTORY);
    const status = fstatSync(directory.fd, { bigint: true });
    const place = { path: Buffer.from(this.#root), name: Buffer.alloc(0), status };
    yield* this.#count(this.#header(place, "5"));
    yield* this.#children(directory, place, 1);
    yield* this.#count(Buffer.alloc(END_BYTES));
  }

  *#children(directory: Handle, parent: Place, depth: number): Generator<Uint8Array> {
    const { maxDepth } = this.#limits;
    if (depth > maxDepth)
      throw this.#tooLarge(`${this.#shown(parent.name)} is more than ${maxDepth} directories deep`);
    for (const own of this.#names(directory, parent.name)) {
      this.#options.signal?.throwIfAborted();
      const name = parent.name.length === 0 ? own : Buffer.concat([parent.name, SLASH, own]);
      if (own.toString("latin1").startsWith(WHITEOUT)) {
        this.#leftOut(name, "in a layer its name would hide another file");
        continue;
      }
      const path = below(directory, own);
      const status = this.#try(name, () => lstatSync(path, { bigint: true }));
      yield* this.#member({ path, name, status }, parent.status.dev, depth);
    }
  }

  #names(directory: Handle, name: Buffer): Buffer[] {
    return this.#try(name, () => {
      const names: Buffer[] = [];
      const { maxEntries } = this.#limits;
      // The type of its names is not told what the encoding is.
      const options = { encoding: "buffer" as BufferEncoding, bufferSize: 1024 };
      const list = opendirSync(`/proc/self/fd/${directory.fd}`, options);
      try {
        for (let entry = list.readSync(); entry !== null; entry = list.readSync()) {
          if (++this.#entries > maxEntries) throw this.#tooLarge(`it has more than ${maxEntries} entries`);
          names.push(entry.name as unknown as Buffer);
        }
      } finally {
        list.closeSync();
      }
      return names.sort((a, b) => a.compare(b));
    });
  }

  *#member(place: Place, device: bigint, depth: number): Generator<Uint8Array> {
    const { name, status } = place;
    const kind = Number(status.mode) & constants.S_IFMT;
    const type = TYPES.find(([one]) => one === kind)?.[1];
    const key = `${status.dev}:${status.ino}`;
    const first = this.#links.get(key);
    if (type === undefined) this.#leftOut(name, "it is a socket");
    else if (type === "5") yield* this.#directory(place, device, depth);
    else if (first !== undefined) yield* this.#count(this.#header(place, "1", first));
    else {
      if (status.nlink > 1n) this.#links.set(key, name);
      if (type === "0") yield* this.#file(place);
      else yield* this.#count(this.#header(place, type, type === "2" ? this.#target(place) : undefined));
    }
  }

  #target({ path, name }: Place): Buffer {
    return this.#try(name, () => readlinkSync(path, { encoding: "buffer" }));
  }

  *#directory(place: Place, device: bigint, depth: number): Generator<Uint8Array> {
    yield* this.#count(this.#header(place, "5"));
    if (place.status.dev !== device) {
      this.#leftOut(place.name, "another file system is mounted there; the directory is left empty");
      return;
    }
    using directory = this.#open(place.name, place.path, DIRECTORY_FLAGS);
    if (!isSame(fstatSync(directory.fd, { bigint: true }), place.status)) throw this.#changed(place.name);
    yield* this.#children(directory, place, depth + 1);
  }

  /** As many bytes as its header says, and no others than those that were there when it was looked at. */
  *#file(place: Place): Generator<Uint8Array> {
    const { name, status } = place;
    using handle = this.#open(name, place.path, FILE_FLAGS);
    const before = fstatSync(handle.fd, { bigint: true });
    if (!before.isFile() || !isSame(before, status)) throw this.#changed(name);
    const sizeBytes = Number(before.size);
    yield* this.#count(this.#header({ ...place, status: before }, "0"));
    // One byte more than there should be, to see that it has not grown.
    for (let at = 0; ; ) {
      this.#options.signal?.throwIfAborted();
      const buffer = Buffer.allocUnsafeSlow(Math.min(sizeBytes - at + 1, CHUNK_BYTES));
      const bytesRead = this.#try(name, () => readSync(handle.fd, buffer, 0, buffer.length, at));
      if (bytesRead === 0 && at === sizeBytes) break;
      if (bytesRead === 0 || at + bytesRead > sizeBytes) throw this.#changed(name);
      at += bytesRead;
      yield* this.#count(buffer.subarray(0, bytesRead));
    }
    const after = fstatSync(handle.fd, { bigint: true });
    if (after.mtimeNs !== before.mtimeNs || after.size !== before.size) throw this.#changed(name);
    yield* this.#count(Buffer.alloc(paddingOf(sizeBytes)));
  }

  #header({ name, status }: Place, type: TypeFlag, linkName?: Buffer): Buffer {
    const second = 1_000_000_000n;
    const nanoseconds = ((status.mtimeNs % second) + second) % second;
    const own = `./${name.toString("latin1")}`;
    return encodeHeader({
      type,
      name: type === "5" && name.length > 0 ? `${own}/` : own,
      // A hard link's is a name in the archive.
      linkName: linkName && `${type === "1" ? "./" : ""}${linkName.toString("latin1")}`,
      mode: Number(status.mode) & 0o7777,
      uid: Number(status.uid),
      gid: Number(status.gid),
      storedBytes: type === "0" ? Number(status.size) : 0,
      mtimeSeconds: Number((status.mtimeNs - nanoseconds) / second),
      mtimeNanoseconds: Number(nanoseconds),
      ...(type === "3" || type === "4" ? deviceOf(status.rdev) : {}),
    });
  }

  *#count(bytes: Uint8Array): Generator<Uint8Array> {
    if (bytes.length === 0) return;
    const { maxBytes } = this.#limits;
    this.#bytes += bytes.length;
    if (this.#bytes > maxBytes) throw this.#tooLarge(`its archive has more than ${maxBytes} bytes`);
    yield bytes;
  }

  #open(name: Buffer, path: Buffer | string, flags: number): Handle {
    const fd = this.#try(name, () => openSync(path, flags));
    return { fd, [Symbol.dispose]: () => closeSync(fd) };
  }

  #try<T>(name: Buffer, job: () => T): T {
    try {
      return job();
    } catch (error) {
      const code = systemCode(error);
      if (error instanceof SourceError || code === undefined) throw error;
      if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") throw this.#changed(name, error);
      const message = `${this.#shown(name)} cannot be read: ${messageOf(error)}`;
      const hint = code === "EACCES" || code === "EPERM" ? UNREADABLE_HINT : undefined;
      throw new SourceError("tree-unreadable", message, { hint, cause: error });
    }
  }

  #shown(name: Buffer): string {
    return quote(name.length === 0 ? this.#root : `${this.#root}/${name.toString("utf8")}`, 400);
  }

  #leftOut(name: Buffer, why: string): void {
    this.#options.onNotice?.(`${this.#shown(name)} is left out: ${why}`);
  }

  #changed(name: Buffer, cause?: unknown): SourceError {
    return new SourceError("tree-changed", `${this.#shown(name)} was changed while it was read`, {
      hint: "try again when nobody writes to the directory",
      cause,
    });
  }

  #tooLarge(what: string): SourceError {
    const message = `the directory ${quote(this.#root)} is too large for an image: ${what}`;
    return new SourceError("tree-too-large", message, { hint: "is it the directory that was meant?" });
  }
}

/** So long nobody else has a turn: most files are small, and asking for each of them in a thread takes five times as long. */
const TURN_MS = 10;

/**
 * The archive, made while it is read. The chunks belong to the caller.
 * @throws SourceError `tree-unreadable`, `tree-changed`, `tree-too-large`; the signal's reason
 */
export async function* packTree(
  path: string,
  options: PackOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  let turnEndsMs = performance.now() + TURN_MS;
  for (const bytes of new Packer(path, options).all()) {
    yield bytes;
    if (performance.now() < turnEndsMs) continue;
    await setImmediate();
    turnEndsMs = performance.now() + TURN_MS;
  }
}
