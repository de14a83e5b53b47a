/**
 * What the guest knows of a share: a node for each file that it has looked up and not yet forgotten.
 *
 *     node id ─► Node ─► O_PATH descriptor                       while it is among the last that were used
 *                    └─► its directory's Node, name, device and inode number: opened again, it must be the same
 *
 * Both are bounded. A node that has lost its descriptor is found again by its name; one that was dropped is ESTALE,
 * on which the guest's kernel looks the path up anew. A node is the file that was looked up, whatever is renamed
 * or put in its place meanwhile: nothing is reached by a path of more than one step.
 */
import type { BigIntStats } from "node:fs";
import { constants as files } from "node:fs";
import { systemCode } from "../util/error.ts";
import { ROOT_ID } from "./fuse/format.ts";
import { Refusal } from "./fuse/message.ts";
import { at, closeFile, Descriptor, O_PATH, openFile, statFile } from "./system.ts";

export const MAX_NODES = 65_536;
const MAX_DESCRIPTORS = 2_048;
/** Directories that may have to be opened again to reach one node. */
const MAX_REOPENED = 64;
/** Oldest nodes that are asked whether they can go, before there is no room. */
const MAX_CANDIDATES = 8_192;

export type Kind = "directory" | "file" | "link" | "other";

export interface Node {
  readonly id: number;
  readonly kind: Kind;
  readonly dev: bigint;
  readonly ino: bigint;
  /** How often the guest has been told of it. */
  lookups: number;
  /** Open handles: as long as there are some, it stays. */
  pins: number;
  /** Where it was found last. Undefined for the share itself. */
  parent: Node | undefined;
  /** Its bytes, as latin1: thousands of small Buffers would keep whole slabs of memory alive. */
  name: string;
  descriptor: Descriptor | undefined;
  /** What it was like when it was last opened, for the guest's cache. */
  opened: { readonly mtimeNs: bigint; readonly ctimeNs: bigint; readonly size: bigint } | undefined;
}

export interface Found {
  readonly node: Node;
  readonly stats: BigIntStats;
}

export class NodeTable {
  readonly root: Node;
  readonly #maxNodes: number;
  readonly #maxDescriptors: number;
  /** Oldest use first, both. */
  readonly #byId = new Map<number, Node>();
  readonly #open = new Set<Node>();
  readonly #byFile = new Map<string, Node>();
  #nextId = ROOT_ID;

  /** Takes over `fd`, an O_PATH descriptor. */
  constructor(
    fd: number,
    stats: BigIntStats,
    limits: { readonly nodes?: number; readonly descriptors?: number } = {},
  ) {
    this.#maxNodes = limits.nodes ?? MAX_NODES;
    this.#maxDescriptors = limits.descriptors ?? MAX_DESCRIPTORS;
    this.root = this.#make(undefined, Buffer.alloc(0), stats);
    this.root.descriptor = new Descriptor(fd);
  }

  get size(): number {
    return this.#byId.size;
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** @throws Refusal ESTALE */
  find(id: number): Node {
    const node = this.#byId.get(id);
    if (node === undefined) throw new Refusal("ESTALE");
    this.#touch(node);
    return node;
  }

  /** Calls `job` with the node's O_PATH descriptor. @throws Refusal ESTALE when it cannot be found again */
  async use<T>(node: Node, job: (fd: number) => Promise<T>, reopened = 0): Promise<T> {
    if (node.descriptor !== undefined) {
      this.#touch(node);
      return await node.descriptor.use(job);
    }
    const { parent } = node;
    if (parent === undefined || !this.#has(parent) || reopened >= MAX_REOPENED) throw new Refusal("ESTALE");
    const fd = await this.use(parent, async (dir) => await this.#reopen(dir, node), reopened + 1);
    if (node.descriptor !== undefined || !this.#has(node)) {
      // Somebody else was faster, or the guest has forgotten it.
      await closeFile(fd);
      return await this.use(node, job, reopened + 1);
    }
    return await this.#keep(node, fd).use(job);
  }

  /**
   * Looks `name` up in `parent` and counts it as told.
   * @throws the system's ENOENT, EACCES, …; Refusal ENFILE
   */
  async enter(parent: Node, name: Buffer): Promise<Found> {
    return await this.use(parent, async (dir) => {
      const fd = await this.open(at(dir, name), O_PATH | files.O_NOFOLLOW);
      return await this.adopt(parent, name, fd);
    });
  }

  /** Takes over `fd`, an O_PATH descriptor of what `name` in `parent` is. */
  async adopt(parent: Node, name: Buffer, fd: number): Promise<Found> {
    let found: Found;
    try {
      const stats = await statFile(fd);
      found = { node: this.#known(stats) ?? this.#make(parent, name, stats), stats };
    } catch (error) {
      await closeFile(fd);
      throw error;
    }
    const { node } = found;
    if (node !== this.root) Object.assign(node, { parent, name: name.toString("latin1") });
    node.lookups++;
    this.#touch(node);
    if (node.descriptor === undefined) this.#keep(node, fd);
    else await closeFile(fd);
    return found;
  }

  /** After a rename: whatever is `name` in `parent` now is found there from now on. */
  async relocate(parent: Node, name: Buffer): Promise<void> {
    await this.use(parent, async (dir) => {
      const fd = await this.open(at(dir, name), O_PATH | files.O_NOFOLLOW);
      const stats = await statFile(fd).finally(() => void closeFile(fd));
      const node = this.#known(stats);
      if (node !== undefined && node !== this.root)
        Object.assign(node, { parent, name: name.toString("latin1") });
    });
  }

  /** The guest forgets `count` of the times it was told. Unknown nodes were dropped before. */
  forget(id: number, count: number): void {
    const node = this.#byId.get(id);
    if (node === undefined || node === this.root) return;
    node.lookups -= count;
    if (node.lookups <= 0) this.#remove(node);
  }

  /** Opens a path; when this process has too many files open, after closing what can be opened again. */
  async open(path: string | Buffer, flags: number, mode?: number): Promise<number> {
    try {
      return await openFile(path, flags, mode);
    } catch (error) {
      if (systemCode(error) !== "EMFILE") throw error;
      this.#shed(Math.floor(this.#open.size / 2));
      return await openFile(path, flags, mode);
    }
  }

  close(): void {
    for (const node of this.#open) node.descriptor?.close();
    this.root.descriptor?.close();
    this.#open.clear();
    this.#byId.clear();
    this.#byFile.clear();
  }

  #has(node: Node): boolean {
    return this.#byId.get(node.id) === node;
  }

  async #reopen(dir: number, node: Node): Promise<number> {
    const fd = await this.open(at(dir, nameOf(node)), O_PATH | files.O_NOFOLLOW).catch((error: unknown) => {
      throw systemCode(error) === "ENOENT" ? new Refusal("ESTALE") : error;
    });
    const stats = await statFile(fd);
    if (stats.dev === node.dev && stats.ino === node.ino && kindOf(stats) === node.kind) return fd;
    await closeFile(fd);
    throw new Refusal("ESTALE");
  }

  #known(stats: BigIntStats): Node | undefined {
    const key = keyOf(stats);
    const node = this.#byFile.get(key);
    if (node === undefined || node.kind === kindOf(stats)) return node;
    // Without a descriptor of ours the number could go to a new file, and has.
    this.#byFile.delete(key);
    return undefined;
  }

  #make(parent: Node | undefined, name: Buffer, stats: BigIntStats): Node {
    if (this.#byId.size >= this.#maxNodes) this.#evict();
    const { dev, ino } = stats;
    const node: Node = {
      id: this.#nextId++,
      kind: kindOf(stats),
      dev,
      ino,
      lookups: 0,
      pins: 0,
      parent,
      name: name.toString("latin1"),
      descriptor: undefined,
      opened: undefined,
    };
    this.#byId.set(node.id, node);
    this.#byFile.set(keyOf(stats), node);
    return node;
  }

  /** @throws Refusal ENFILE when all that could go is in use */
  #evict(): void {
    let candidates = 0;
    for (const node of this.#byId.values()) {
      if (node !== this.root && node.pins === 0) return this.#remove(node);
      if (++candidates >= MAX_CANDIDATES) break;
    }
    throw new Refusal("ENFILE");
  }

  #keep(node: Node, fd: number): Descriptor {
    if (this.#open.size >= this.#maxDescriptors) this.#shed(1);
    node.descriptor = new Descriptor(fd);
    this.#open.add(node);
    return node.descriptor;
  }

  #shed(count: number): void {
    let left = count;
    for (const node of this.#open) {
      if (left-- <= 0) return;
      this.#open.delete(node);
      node.descriptor?.close();
      node.descriptor = undefined;
    }
  }

  #remove(node: Node): void {
    this.#byId.delete(node.id);
    const key = keyOf(node);
    if (this.#byFile.get(key) === node) this.#byFile.delete(key);
    this.#open.delete(node);
    node.descriptor?.close();
    node.descriptor = undefined;
  }

  #touch(node: Node): void {
    if (this.#byId.delete(node.id)) this.#byId.set(node.id, node);
    if (this.#open.delete(node)) this.#open.add(node);
  }
}

/** What it is called in its directory. */
export function nameOf({ name }: Node): Buffer {
  return Buffer.from(name, "latin1");
}

function keyOf({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): string {
  return `${dev}:${ino}`;
}

export function kindOf(stats: BigIntStats): Kind {
  if (stats.isDirectory()) return "directory";
  if (stats.isFile()) return "file";
  return stats.isSymbolicLink() ? "link" : "other";
}
