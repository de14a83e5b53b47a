/**
 * What is in a container: its files, what it has changed, its processes. Told by its agent, in this process or over the
 * container's control socket; whoever asks need not know which.
 */
import type { Readable, Writable } from "node:stream";
import { archiveFile, extractArchive, statFile } from "../agent/files.ts";
import type { FileArchive, FileStat } from "../agent/files.ts";
import { containerChanges, containerLayer } from "../agent/layer.ts";
import type { Change, ChangeKind } from "../agent/layer.ts";
import type { ContainerProcess, FileKind, TimeOfFile } from "../agent/protocol/messages.ts";
import type { AgentSession } from "../agent/session/session.ts";
import { containerProcesses } from "../agent/usage.ts";
import { breakOff } from "../util/abort.ts";

export type { Change, ChangeKind, FileKind, ContainerProcess, FileStat, TimeOfFile };

export interface ContentsOptions {
  /** Ends it with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface StatOptions extends ContentsOptions {
  /** Whether a link that is the last component is followed. Default false. */
  readonly follow?: boolean | undefined;
}

export interface ArchiveOptions extends ContentsOptions {
  /** Whether a link that is the last component is followed. Default false. */
  readonly follow?: boolean | undefined;
  /** Leaves out what is mounted below. Default false. */
  readonly oneFileSystem?: boolean | undefined;
}

export interface ExtractOptions extends ContentsOptions {
  /** Who is to own everything; default: whoever the archive names. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
}

export interface ContainerContents {
  /** @throws FlameBoxError `path-not-found`, `not-a-directory` */
  stat(path: string, options?: StatOptions): Promise<FileStat>;
  /** A tar archive, of a hostile container for all that is known. Its members begin with the file's name. */
  archive(path: string, options?: ArchiveOptions): Promise<FileArchive>;
  /**
   * Unpacks a tar archive into a directory of the container's. Resolves when all is in place.
   * @throws FlameBoxError `path-not-found`, `not-a-directory`, `failed`, which names the member
   */
  extract(path: string, archive: Readable, options?: ExtractOptions): Promise<void>;
  changes(options?: ContentsOptions): AsyncGenerator<Change>;
  /** What it has changed, as a layer of an image: a tar archive with whiteouts. */
  layer(options?: ContentsOptions): Promise<Readable>;
}

/** Of a container whose agent this process talks to. */
export class OwnContents implements ContainerContents {
  readonly #session: AgentSession;
  readonly #id: string;

  constructor(session: AgentSession, id: string) {
    this.#session = session;
    this.#id = id;
  }

  async stat(path: string, { follow, signal }: StatOptions = {}): Promise<FileStat> {
    return await statFile(this.#session, { id: this.#id, path, follow }, { signal });
  }

  async archive(path: string, { signal, ...options }: ArchiveOptions = {}): Promise<FileArchive> {
    const opened = await archiveFile(this.#session, { id: this.#id, path, ...options }, { signal });
    breakOff(opened.stream, signal);
    return opened;
  }

  async extract(path: string, archive: Readable, options: ExtractOptions = {}): Promise<void> {
    const { stream, done } = this.startExtraction(path, options);
    archive.once("error", (error) => stream.destroy(error));
    archive.pipe(stream);
    await done;
  }

  /** As `extract`, for somebody who writes the archive himself. */
  startExtraction(
    path: string,
    { owner, signal }: ExtractOptions = {},
  ): { readonly stream: Writable; readonly done: Promise<unknown> } {
    return extractArchive(this.#session, { id: this.#id, path, owner }, { signal });
  }

  changes(options: ContentsOptions = {}): AsyncGenerator<Change> {
    return containerChanges(this.#session, this.#id, options);
  }

  async layer({ signal }: ContentsOptions = {}): Promise<Readable> {
    const layer = await containerLayer(this.#session, this.#id, { signal });
    breakOff(layer, signal);
    return layer;
  }

  /** What is in a directory, one by one; links are followed. @throws FlameBoxError `path-not-found`, `not-a-directory` */
  async *list(path: string, options: ContentsOptions = {}): AsyncGenerator<FileStat, void, undefined> {
    const { directoryEntries } = await import("./listing.ts");
    yield* directoryEntries(this.#session, this.#id, path, options);
  }

  async processes(): Promise<readonly ContainerProcess[]> {
    return await containerProcesses(this.#session, this.#id);
  }
}
