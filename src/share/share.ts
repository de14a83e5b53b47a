/**
 * A folder or file of the host's that a container sees. This side is a FUSE server; the guest's kernel is the client,
 * and the agent only carries its messages, so that any VMM will do.
 *
 *     container ─► guest's kernel (FUSE) ─► agent ─► streams ─► server ─► nodes, handles ─► the host's files
 *
 * The guest is hostile. It names files by numbers that it was given and by single steps below them, never by paths;
 * symbolic links are text that it resolves itself. What the invoking user may not do the host's kernel refuses.
 */
import type { Readable, Writable } from "node:stream";
import { messageOf, systemCode } from "../util/error.ts";
import { ShareError } from "./fuse/message.ts";
import { HandleTable } from "./handles.ts";
import { kindOf, NodeTable } from "./nodes.ts";
import type { Tree } from "./operations/operation.ts";
import { serve } from "./server.ts";
import { closeFile, O_PATH, openFile, statFile } from "./system.ts";

export interface ShareOptions {
  readonly readonly: boolean;
  /** Bounds for tests; the usual ones are in `nodes.ts` and `handles.ts`. */
  readonly limits?: { readonly nodes?: number; readonly descriptors?: number; readonly handles?: number };
}

export class Share implements AsyncDisposable {
  readonly kind: "directory" | "file";
  readonly #tree: Tree;
  #serving: Promise<ShareError | undefined> = Promise.resolve(undefined);
  #streams: readonly (Readable | Writable)[] = [];

  private constructor(kind: "directory" | "file", tree: Tree) {
    this.kind = kind;
    this.#tree = tree;
  }

  /**
   * Opens `source`, whose symbolic links are followed: it is the user's own word.
   * @throws ShareError `share-source-missing`, `share-source-denied`, `share-source-unsupported`
   */
  static async open(source: string, options: ShareOptions): Promise<Share> {
    const fd = await openFile(source, O_PATH).catch((error: unknown) => {
      throw explain(source, error);
    });
    const stats = await statFile(fd);
    const kind = kindOf(stats);
    if (kind !== "directory" && kind !== "file") {
      await closeFile(fd);
      throw new ShareError("share-source-unsupported", `${source} is neither a directory nor a plain file`, {
        hint: "a device, a socket or a FIFO of the host's cannot be given to a machine",
      });
    }
    return new Share(kind, {
      nodes: new NodeTable(fd, stats, options.limits),
      handles: new HandleTable(options.limits?.handles),
      readonly: options.readonly,
      home: stats.dev,
      givesOwners: process.geteuid?.() === 0,
    });
  }

  /**
   * Answers requests from now on, until the streams end. Once in the life of a share.
   * @returns when it is over; `bad-message` (ShareError) tells of a guest that does not speak FUSE
   */
  async serve(requests: Readable, replies: Writable): Promise<ShareError | undefined> {
    this.#streams = [requests, replies];
    this.#serving = this.#serve(requests, replies);
    return await this.#serving;
  }

  async #serve(requests: Readable, replies: Writable): Promise<ShareError | undefined> {
    try {
      await serve(this.#tree, requests, replies);
      return undefined;
    } catch (error) {
      if (error instanceof ShareError) return error;
      return new ShareError("share-failed", messageOf(error), { cause: error });
    }
  }

  /** What the share holds on the host: nodes, their descriptors, and open handles. */
  usage(): { readonly nodes: number; readonly descriptors: number; readonly handles: number } {
    const { nodes, handles } = this.#tree;
    return { nodes: nodes.size, descriptors: nodes.openCount, handles: handles.size };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stream of this.#streams) stream.destroy();
    await this.#serving;
    await this.#tree.handles.close();
    this.#tree.nodes.close();
  }
}

function explain(source: string, error: unknown): unknown {
  const code = systemCode(error);
  if (code === "ENOENT" || code === "ENOTDIR")
    return new ShareError("share-source-missing", `${source} does not exist on this host`, {
      hint: `make it first: mkdir -p ${JSON.stringify(source)}`,
      cause: error,
    });
  if (code === "EACCES")
    return new ShareError("share-source-denied", `${source} may not be opened by the user who runs this`, {
      cause: error,
    });
  return new ShareError("share-failed", `${source}: ${messageOf(error)}`, { cause: error });
}
