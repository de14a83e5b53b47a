/** A container's files for programs: read, written and listed whole. For large ones and trees, see `copyIn` and `copyOut`. */
import { posix } from "node:path";
import { Readable } from "node:stream";
import { END_BYTES, encodeHeader, paddingOf } from "../formats/tar/encode.ts";
import type { TarEntry, TarType } from "../formats/tar/format.ts";
import { TarReader } from "../formats/tar/reader.ts";
import { FlameBoxError } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import type { ContainerContents, FileStat } from "./contents.ts";
import type { CopyOptions } from "./copy/copy.ts";
import { copyFromContainer, copyToContainer } from "./copy/copy.ts";

export type { TarType };

export interface ReadFileOptions {
  /** More is an error; default 256 MiB. */
  readonly maxBytes?: number | undefined;
}

export interface WriteFileOptions {
  /** Permissions; default 0o644. */
  readonly mode?: number | undefined;
  /** Default: root's. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly type: TarType;
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

export class ContainerFiles {
  readonly #contents: ContainerContents;

  constructor(contents: ContainerContents) {
    this.#contents = contents;
  }

  /** @throws FlameBoxError `path-not-found` */
  async stat(path: string, options: { readonly follow?: boolean } = {}): Promise<FileStat> {
    return await this.#contents.stat(path, options);
  }

  /** Whether something is there; links are followed. */
  async exists(path: string): Promise<boolean> {
    try {
      await this.stat(path, { follow: true });
      return true;
    } catch (error) {
      if (error instanceof FlameBoxError && error.code === "path-not-found") return false;
      throw error;
    }
  }

  /** @throws FlameBoxError `path-not-found`, `not-a-file`, `file-too-large` */
  async read(path: string, { maxBytes = DEFAULT_MAX_BYTES }: ReadFileOptions = {}): Promise<Buffer> {
    const { stat, stream } = await this.#contents.archive(path, { follow: true });
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
    const { mode = 0o644, uid = 0, gid = 0 } = options;
    const absolute = posix.resolve("/", path);
    const base = await this.#deepestThere(posix.dirname(absolute));
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
    await this.#contents.extract(base, Readable.from(parts));
  }

  async #deepestThere(path: string): Promise<string> {
    for (let dir = path; dir !== "/"; dir = posix.dirname(dir)) if (await this.exists(dir)) return dir;
    return "/";
  }

  /**
   * What is in a directory, by name. The guest sends what is below it as well, so one with much in it takes its time.
   * @throws FlameBoxError `path-not-found`, `not-a-directory`
   */
  async list(path: string): Promise<DirectoryEntry[]> {
    const { stat, stream } = await this.#contents.archive(path, { follow: true, oneFileSystem: true });
    try {
      if (stat.kind !== "directory")
        throw new FlameBoxError("not-a-directory", `${quote(path)} is no directory, but a ${stat.kind}`);
      const depth = posix.resolve("/", path) === "/" ? 1 : 2;
      const entries: DirectoryEntry[] = [];
      const reader = new TarReader({
        entry: (entry) => {
          const names = Buffer.from(entry.name)
            .toString("utf8")
            .split("/")
            .filter((name) => name !== "" && name !== ".");
          const [name] = names.slice(-1);
          if (name !== undefined && names.length === depth) entries.push(entryOf(name, entry));
          if (entries.length > MAX_ENTRIES)
            throw new FlameBoxError("file-too-large", `${quote(path)} has more than ${MAX_ENTRIES} entries`);
        },
        data: () => {},
        endEntry: () => {},
      });
      for await (const chunk of stream as AsyncIterable<Buffer>) reader.push(chunk);
      return entries.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    } finally {
      stream.destroy();
    }
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

function entryOf(name: string, entry: TarEntry): DirectoryEntry {
  const { type, sizeBytes, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, linkName } = entry;
  return {
    name,
    type,
    sizeBytes,
    mode: mode & 0o7777,
    uid,
    gid,
    modifiedAt: new Date(mtimeSeconds * 1_000 + mtimeNanoseconds / 1e6),
    ...(type === "symlink" && { linkTarget: Buffer.from(linkName).toString("utf8") }),
  };
}
