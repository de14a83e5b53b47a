/**
 * What is in a container: its files, what it has changed, its processes. Told by its agent, in this process or over the
 * container's control socket; whoever asks need not know which.
 */
import type { Readable, Writable } from "node:stream";
import { archiveFile, extractArchive, statFile } from "../agent/files.ts";
import type { FileArchive, FileStat } from "../agent/files.ts";
import { containerChanges, containerLayer } from "../agent/layer.ts";
import type { Change, ChangeKind } from "../agent/layer.ts";
import type { ContainerProcess, TimeOfFile } from "../agent/protocol/messages.ts";
import type { AgentSession } from "../agent/session/session.ts";
import { containerProcesses } from "../agent/usage.ts";

export type { Change, ChangeKind, ContainerProcess, FileStat, TimeOfFile };

export interface ArchiveOptions {
  /** Whether a link that is the last component is followed. Default false. */
  readonly follow?: boolean | undefined;
  /** Leaves out what is mounted below. Default false. */
  readonly oneFileSystem?: boolean | undefined;
}

export interface ExtractOptions {
  /** Who is to own everything; default: whoever the archive names. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
}

export interface ContainerContents {
  /** @throws FlameBoxError `path-not-found`, `not-a-directory` */
  stat(path: string, options?: { readonly follow?: boolean | undefined }): Promise<FileStat>;
  /** A tar archive, of a hostile container for all that is known. Its members begin with the file's name. */
  archive(path: string, options?: ArchiveOptions): Promise<FileArchive>;
  /**
   * Unpacks a tar archive into a directory of the container's. Resolves when all is in place.
   * @throws FlameBoxError `path-not-found`, `not-a-directory`, `failed`, which names the member
   */
  extract(path: string, archive: Readable, options?: ExtractOptions): Promise<void>;
  changes(): AsyncGenerator<Change>;
  /** What it has changed, as a layer of an image: a tar archive with whiteouts. */
  layer(): Promise<Readable>;
}

/** Of a container whose agent this process talks to. */
export class OwnContents implements ContainerContents {
  readonly #session: AgentSession;
  readonly #id: string;

  constructor(session: AgentSession, id: string) {
    this.#session = session;
    this.#id = id;
  }

  async stat(path: string, { follow }: { readonly follow?: boolean | undefined } = {}): Promise<FileStat> {
    return await statFile(this.#session, { id: this.#id, path, follow });
  }

  async archive(path: string, options: ArchiveOptions = {}): Promise<FileArchive> {
    return await archiveFile(this.#session, { id: this.#id, path, ...options });
  }

  async extract(path: string, archive: Readable, { owner }: ExtractOptions = {}): Promise<void> {
    const { stream, done } = this.startExtraction(path, { owner });
    archive.once("error", (error) => stream.destroy(error));
    archive.pipe(stream);
    await done;
  }

  /** As `extract`, for somebody who writes the archive himself. */
  startExtraction(
    path: string,
    { owner }: ExtractOptions = {},
  ): { readonly stream: Writable; readonly done: Promise<unknown> } {
    return extractArchive(this.#session, { id: this.#id, path, owner });
  }

  changes(): AsyncGenerator<Change> {
    return containerChanges(this.#session, this.#id);
  }

  async layer(): Promise<Readable> {
    return await containerLayer(this.#session, this.#id);
  }

  async processes(): Promise<readonly ContainerProcess[]> {
    return await containerProcesses(this.#session, this.#id);
  }
}
