/** What the guest has open: files and directories, by the number that it was told. */
import { Directory } from "./directory.ts";
import { Refusal } from "./fuse/message.ts";
import type { Node } from "./nodes.ts";
import { Descriptor } from "./system.ts";

export const MAX_HANDLES = 4_096;
/** Of those, directories: each keeps some of its entries. */
const MAX_DIRECTORIES = 256;

export interface FileHandle {
  readonly node: Node;
  readonly descriptor: Descriptor;
  /** Appends wait for each other: where one ends the next begins. */
  appending: Promise<unknown>;
}

export interface DirectoryHandle {
  readonly node: Node;
  readonly descriptor: Descriptor;
  readonly directory: Directory;
}

export class HandleTable {
  readonly #files = new Map<number, FileHandle>();
  readonly #directories = new Map<number, DirectoryHandle>();
  readonly #maxHandles: number;
  #next = 1;
  /** Those that are being opened count as well. */
  #reserved = 0;

  constructor(maxHandles = MAX_HANDLES) {
    this.#maxHandles = maxHandles;
  }

  get size(): number {
    return this.#files.size + this.#directories.size;
  }

  /** Opens with `open`, which gives a descriptor, and returns the handle's number. @throws Refusal ENFILE */
  async openFile(node: Node, open: () => Promise<number>): Promise<number> {
    return await this.#reserve(async () => {
      const descriptor = new Descriptor(await open());
      node.pins++;
      const number = this.#next++;
      this.#files.set(number, { node, descriptor, appending: Promise.resolve() });
      return number;
    });
  }

  /** @throws Refusal ENFILE */
  async openDirectory(node: Node, open: () => Promise<number>): Promise<number> {
    if (this.#directories.size >= MAX_DIRECTORIES) throw new Refusal("ENFILE");
    return await this.#reserve(async () => {
      const descriptor = new Descriptor(await open());
      try {
        const directory = await descriptor.use(async (fd) => await Directory.open(fd));
        node.pins++;
        const number = this.#next++;
        this.#directories.set(number, { node, descriptor, directory });
        return number;
      } catch (error) {
        descriptor.close();
        throw error;
      }
    });
  }

  /** @throws Refusal EBADF */
  file(number: number): FileHandle {
    return this.#files.get(number) ?? refuse();
  }

  /** @throws Refusal EBADF */
  directory(number: number): DirectoryHandle {
    return this.#directories.get(number) ?? refuse();
  }

  /** @throws Refusal EBADF */
  closeFile(number: number): void {
    const { node, descriptor } = this.file(number);
    this.#files.delete(number);
    node.pins--;
    descriptor.close();
  }

  /** @throws Refusal EBADF */
  async closeDirectory(number: number): Promise<void> {
    const { node, descriptor, directory } = this.directory(number);
    this.#directories.delete(number);
    node.pins--;
    await directory.close().finally(() => descriptor.close());
  }

  async close(): Promise<void> {
    for (const number of this.#files.keys()) this.closeFile(number);
    const directories = [...this.#directories.keys()];
    await Promise.allSettled(directories.map(async (number) => await this.closeDirectory(number)));
  }

  async #reserve(open: () => Promise<number>): Promise<number> {
    if (this.size + this.#reserved >= this.#maxHandles) throw new Refusal("ENFILE");
    this.#reserved++;
    try {
      return await open();
    } finally {
      this.#reserved--;
    }
  }
}

function refuse(): never {
  throw new Refusal("EBADF");
}
