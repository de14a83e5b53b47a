/** A container's files for programs: read and written whole, and listed. For large ones and trees, see `copyIn` and `copyOut`. */
import { posix } from "node:path";
import { Readable } from "node:stream";
import { END_BYTES, encodeHeader, paddingOf } from "../formats/tar/encode.ts";
import { TarReader } from "../formats/tar/reader.ts";
import { FlameBoxError } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import type { ContainerContents, ContentsOptions, FileKind, FileStat, StatOptions } from "./contents.ts";
import type { CopyOptions } from "./copy/copy.ts";
import { copyFromContainer, copyToContainer } from "./copy/copy.ts";

export interface ReadFileOptions extends ContentsOptions {
  /** More is an error; default 256 MiB. */
  readonly maxBytes?: number | undefined;
}

export interface WriteFileOptions extends ContentsOptions {
  /** Permissions; default 0o644. */
  readonly mode?: number | undefined;
  /** Default: root's. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

export interface DirectoryEntry {
  /** What of it is not UTF-8 was replaced. */
  readonly name: string;
  readonly type: FileKind;
  readonly sizeBytes: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modifiedAt: Date;
  /** Of a symbolic link. */
  readonly linkTarget?: string | undefined;
}

const DEFAULT_MAX_BYTES = 256 << 20;
const MAX_ENTRIES = 1_000_000;

/** Contents that a directory can be listed of. */
export interface ListableContents extends ContainerContents {
  list(path: string, options?: ContentsOptions): AsyncIterable<FileStat>;
}

/** The files of a container: `FlameBox.files`. A signal ends a call with its reason. */
export class ContainerFiles {
  readonly #contents: ListableContents;

  constructor(contents: ListableContents) {
    this.#contents = contents;
  }

  /** @throws FlameBoxError `path-not-found` */
  async stat(path: string, options: StatOptions = {}): Promise<FileStat> {
    return await this.#contents.stat(path, options);
  }

  /** Whether something is there; links are followed. */
  async exists(path: string, { signal }: ContentsOptions = {}): Promise<boolean> {
    try {
      await this.stat(path, { follow: true, signal });
      return true;
    } catch (error) {
      if (error instanceof FlameBoxError && error.code === "path-not-found") return false;
      throw error;
    }
  }

  /** @throws FlameBoxError `path-not-found`, `not-a-file`, `file-too-large` */
  async read(path: string, { maxBytes = DEFAULT_MAX_BYTES, signal }: ReadFileOptions = {}): Promise<Buffer> {
    const { stat, stream } = await this.#contents.archive(path, { follow: true, signal });
    try {
      if (stat.kind !== "file")
        throw new FlameBoxError("not-a-file", `${quote(path)} is no file, but a ${stat.kind}`);
      const chunks: Buffer[] = [];
      let sizeBytes = 0;
      const reader = new TarReader({
        entry: () => {},
        data: (chunk, start, end) => {
          sizeBytes += end - start;
          if (sizeBytes > maxBytes)
            throw new FlameBoxError("file-too-large", `${quote(path)} has more than ${maxBytes} bytes`, {
              hint: "copy it to this host instead: copyOut",
            });
          chunks.push(Buffer.from(chunk.subarray(start, end)));
        },
        endEntry: () => {},
      });
      for await (const chunk of stream as AsyncIterable<Buffer>) reader.push(chunk);
      return Buffer.concat(chunks);
    } finally {
      stream.destroy();
    }
  }

  /** As `read`; what is not UTF-8 is replaced. */
  async readText(path: string, options: ReadFileOptions = {}): Promise<string> {
    return (await this.read(path, options)).toString("utf8");
  }

  /**
   * Makes or replaces a file, and the directories that it wants.
   * @throws FlameBoxError `not-a-directory`, `failed`
   */
  async write(path: string, data: Uint8Array | string, options: WriteFileOptions = {}): Promise<void> {
    const { mode = 0o644, uid = 0, gid = 0, signal } = options;
    const absolute = posix.resolve("/", path);
    const base = await this.#deepestThere(posix.dirname(absolute), signal);
    const bytes = Buffer.from(data);
    const relative = posix.relative(base, absolute);
    const common = { uid, gid, mtimeSeconds: Math.floor(Date.now() / 1000), mtimeNanoseconds: 0 };
    const names = relative.split("/");
    const directories = names.slice(0, -1).map((_, index) => `${names.slice(0, index + 1).join("/")}/`);
    const nameOf = (name: string) => Buffer.from(name).toString("latin1");
    const parts = [
      ...directories.map((name) =>
        encodeHeader({ ...common, type: "5", name: nameOf(name), mode: 0o755, storedBytes: 0 }),
      ),
      encodeHeader({ ...common, type: "0", name: nameOf(relative), mode, storedBytes: bytes.length }),
      bytes,
      Buffer.alloc(paddingOf(bytes.length)),
      Buffer.alloc(END_BYTES),
    ];
    await this.#contents.extract(base, Readable.from(parts), { signal });
  }

  async #deepestThere(path: string, signal: AbortSignal | undefined): Promise<string> {
    for (let dir = path; dir !== "/"; dir = posix.dirname(dir))
      if (await this.exists(dir, { signal })) return dir;
    return "/";
  }

  /**
   * What is in a directory, by name: nothing of what is below it, and no content. Links are followed.
   * @throws FlameBoxError `path-not-found`, `not-a-directory`, `directory-too-large`
   */
  async list(path: string, options: ContentsOptions = {}): Promise<DirectoryEntry[]> {
    const entries: DirectoryEntry[] = [];
    for await (const stat of this.#contents.list(path, options)) {
      if (entries.length === MAX_ENTRIES)
        throw new FlameBoxError("directory-too-large", `${quote(path)} has more than ${MAX_ENTRIES} entries`);
      entries.push(entryOf(stat));
    }
    return entries.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Copies a file or folder of this host into the container, with the rules of `docker cp`. */
  async copyIn(from: string, to: string, options: CopyOptions = {}): Promise<void> {
    await copyToContainer(this.#contents, from, to, options);
  }

  /** Copies a file or folder of the container's to this host, with the rules of `docker cp`. */
  async copyOut(from: string, to: string, options: CopyOptions = {}): Promise<void> {
    await copyFromContainer(this.#contents, from, to, options);
  }
}

function entryOf({ kind: type, mtime, ...stat }: FileStat): DirectoryEntry {
  const { name, sizeBytes, mode, uid, gid, linkTarget } = stat;
  return {
    name,
    type,
    sizeBytes,
    mode,
    uid,
    gid,
    modifiedAt: new Date(mtime.seconds * 1_000 + mtime.nanoseconds / 1e6),
    ...(linkTarget !== undefined && { linkTarget }),
  };
}
