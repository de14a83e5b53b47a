/** The layers' blobs of a tree, opened for reading: source i of the tree is file i. */
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import type { ValidatedTree } from "../validate.ts";
import { BLOCK_SIZE } from "../layer-index.ts";
import { RootfsError } from "../rootfs-error.ts";

const READ_BYTES = 4 * 1024 * 1024;

export class Blobs implements AsyncDisposable {
  readonly #files: (FileHandle | undefined)[] = [];
  readonly #paths: readonly string[];
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES);

  private constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /**
   * `paths` are those of the tree's sources; one without blocks is not opened.
   * @throws RootfsError `invalid-disk` when a blob has another size than its index says; system errors
   */
  static async open(tree: ValidatedTree, paths: readonly string[]): Promise<Blobs> {
    const blobs = new Blobs(paths);
    try {
      for (const [source, { blobBlocks }] of tree.sources.entries()) {
        blobs.#files.push(
          blobBlocks === 0 ? undefined : await openBlob(paths[source] ?? "", blobBlocks * BLOCK_SIZE),
        );
      }
      return blobs;
    } catch (error) {
      await blobs[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Bytes of one blob in pieces of at most 4 MiB, each valid until the next is asked for. */
  async *read(source: number, offset: number, length: number): AsyncGenerator<Buffer, void, undefined> {
    const file = this.#files[source];
    for (let done = 0; done < length; ) {
      const wanted = Math.min(READ_BYTES, length - done);
      const { bytesRead } = (await file?.read(this.#buffer, 0, wanted, offset + done)) ?? { bytesRead: 0 };
      if (bytesRead === 0) {
        throw new RootfsError("invalid-disk", `${this.#paths[source]} became shorter while it was read`);
      }
      yield this.#buffer.subarray(0, bytesRead);
      done += bytesRead;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of this.#files.splice(0)) await file?.close();
  }
}

async function openBlob(path: string, sizeBytes: number): Promise<FileHandle> {
  const file = await open(path, "r");
  const found = (await file.stat()).size;
  if (found === sizeBytes) return file;
  await file.close();
  throw new RootfsError("invalid-disk", `${path} has ${found} bytes, not ${sizeBytes}`, {
    hint: "the converted layer is damaged; remove the image and pull it again",
  });
}
