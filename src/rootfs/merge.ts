/**
 * Merges the layers of an image into one tree.
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#applying-changesets
 *
 * Each layer is applied in two passes: first its whiteouts and opaque marks, so that they touch only what
 * lower layers made, wherever they stand in the archive; then its entries in archive order, the last of
 * equal names winning. The specification leaves corner cases open; what `umoci unpack` does decides:
 *
 *     directory over directory   children stay, the metadata is the new one
 *     anything else over any     replaces it, with all that is below
 *     parent is missing          made: 0755 root; also where a symlink to nowhere points
 *     parent is a symlink        followed inside the root, at most 40 hops; a loop is an error
 *     parent is another file     an error
 *     hard link                  to what its target's name means now: its parents are followed, the target
 *                                itself is not, so a link to a symlink is a second name of the symlink
 *     paths through symlinks     in sum they may take 16 million steps
 *     directories without an entry  half a million at most
 *     hard link to nothing, to a directory, to itself    an error
 *     whiteout of nothing        nothing happens
 */
import { toColumns } from "./columns.ts";
import type { MergedTree } from "./columns.ts";
import { EntryKind } from "./layer-index.ts";
import type { LayerIndex } from "./layer-index.ts";
import { RootfsError } from "./rootfs-error.ts";
import { MAX_NAME_BYTES, MAX_PATH_BYTES, ROOT, Tree, walk } from "./tree.ts";
import type { Layer, NoDirectory, WalkOptions } from "./tree.ts";

/** More than any real image has: a bound for memory, and below the size limit of a JavaScript map. */
const MAX_ENTRIES = 8_000_000;
const MAX_LAYERS = 4096;

const SLASH = 0x2f;

/** A tree that layers are applied to, one after the other, as they become known. */
export class Merger {
  readonly #tree = new Tree();
  readonly #parents: ParentCache = new Map();
  #entries = 0;

  /**
   * Applies the next layer; the lowest comes first. After an error the tree is of no use.
   * @throws RootfsError `invalid-layer`, `rootfs-too-large`
   */
  add(layer: Layer): void {
    const { index } = layer;
    this.#entries += index.entryCount;
    const count = this.#tree.layers.length + 1;
    if (this.#entries > MAX_ENTRIES || count > MAX_LAYERS) {
      throw new RootfsError(
        "rootfs-too-large",
        `${this.#entries} entries in ${count} layers; at most ${MAX_ENTRIES} in ${MAX_LAYERS} are supported`,
      );
    }
    const number = this.#tree.addLayer(layer);
    removeHidden(this.#tree, this.#parents, number, index);
    new Applier(this.#tree, this.#parents, number, index).apply();
  }

  get layers(): readonly Layer[] {
    return this.#tree.layers;
  }

  /** The tree of the layers so far, not validated yet. */
  tree(): MergedTree {
    return toColumns(this.#tree);
  }
}

/**
 * The tree of an image, lowest layer first, not validated yet.
 * @throws RootfsError `invalid-layer`, `rootfs-too-large`
 */
export function merge(layers: readonly Layer[]): MergedTree {
  const merger = new Merger();
  for (const layer of layers) merger.add(layer);
  return merger.tree();
}

/**
 * Directories that paths were found to lead to. New entries change no answer; replacing or removing a
 * directory or a symlink may, so the cache is emptied then.
 */
type ParentCache = Map<string, number>;

function removeHidden(tree: Tree, parents: ParentCache, layer: number, index: LayerIndex): void {
  let directories: Set<string> | undefined;
  // Where this layer puts a directory over a lower symlink, its whiteouts below mean the new directory, in
  // which nothing is from lower layers. Following the symlink would remove files of an innocent directory.
  const stopAtSymlink = (path: string): boolean => {
    directories ??= directoryNames(tree, layer, index);
    return directories.has(path);
  };
  const find = (row: number, path: string): number | undefined => {
    const found = walk(tree, path, { stopAtSymlink });
    if (found === "symlink-loop" || found === "too-far") throw tree.error(layer, row, REASONS[found]);
    return typeof found === "number" ? found : undefined;
  };
  for (let row = 0; row < index.entryCount; row++) {
    const kind = index.kind[row];
    if (kind !== EntryKind.whiteout && kind !== EntryKind.opaque) continue;
    const path = tree.textOf(layer, row, "name");
    if (path.length > MAX_PATH_BYTES) throw tree.error(layer, row, "its name is too long");
    if (kind === EntryKind.opaque) {
      const directory = find(row, path);
      if (directory !== undefined) tree.children[directory]?.clear();
    } else {
      if (path === "") throw tree.error(layer, row, "the root cannot be removed");
      const slash = path.lastIndexOf("/");
      const directory = find(row, path.slice(0, Math.max(slash, 0)));
      if (directory !== undefined) tree.children[directory]?.delete(path.slice(slash + 1));
    }
    parents.clear();
  }
}

function directoryNames(tree: Tree, layer: number, index: LayerIndex): Set<string> {
  const names = new Set<string>();
  for (let row = 0; row < index.entryCount; row++) {
    if (index.kind[row] === EntryKind.directory) names.add(tree.textOf(layer, row, "name"));
  }
  return names;
}

const REASONS: Readonly<Record<NoDirectory, string>> = {
  missing: "its directory does not exist",
  "not-a-directory": "a parent of it is not a directory",
  "symlink-loop": "too many symbolic links on the way to it",
  "too-many-made": `more than half a million directories have no entry of their own`,
  "too-far": "the symbolic links of this image make its paths too long in sum",
};

/** Applies the entries of one layer. */
class Applier {
  readonly #tree: Tree;
  readonly #parents: ParentCache;
  readonly #layer: number;
  readonly #index: LayerIndex;
  readonly #heap: Buffer;
  /** Where the name of the last parent is in the heap, and the directory that it leads to. */
  #lastOffset = 0;
  #lastLength = -1;
  #lastParent = ROOT;

  constructor(tree: Tree, parents: ParentCache, layer: number, index: LayerIndex) {
    this.#tree = tree;
    this.#parents = parents;
    this.#layer = layer;
    this.#index = index;
    this.#heap = tree.heaps[layer] ?? Buffer.alloc(0);
  }

  apply(): void {
    const { entryCount, kind } = this.#index;
    for (let row = 0; row < entryCount; row++) {
      const rowKind = kind[row];
      if (rowKind !== EntryKind.whiteout && rowKind !== EntryKind.opaque) this.#applyRow(row, rowKind);
    }
  }

  #applyRow(row: number, kind: number | undefined): void {
    const tree = this.#tree;
    const offset = this.#index.nameOffset[row] ?? 0;
    const length = this.#index.nameLength[row] ?? 0;
    if (length === 0) {
      if (kind !== EntryKind.directory) throw this.#error(row, "the root is always a directory");
      tree.layerOf[ROOT] = this.#layer;
      tree.rowOf[ROOT] = row;
      return;
    }
    const baseAt = this.#baseStart(offset, length);
    const baseLength = offset + length - baseAt;
    if (length > MAX_PATH_BYTES || baseLength > MAX_NAME_BYTES)
      throw this.#error(row, "its name is too long");
    if (baseLength === 0) throw this.#error(row, "its name ends with a slash");
    const parent = this.#parentOf(row, offset, Math.max(baseAt - 1 - offset, 0));
    const siblings = tree.children[parent];
    const name = this.#heap.toString("latin1", baseAt, offset + length);
    const existing = siblings?.get(name);
    if (kind === EntryKind.directory) {
      if (existing !== undefined && tree.isDirectory(existing)) {
        tree.layerOf[existing] = this.#layer;
        tree.rowOf[existing] = row;
        return;
      }
    }
    const node = kind === EntryKind.hardlink ? this.#linkTarget(row) : this.#addRow(row, kind);
    if (existing !== undefined && (tree.isDirectory(existing) || tree.isSymlink(existing))) this.#forget();
    siblings?.set(name, node);
  }

  #addRow(row: number, kind: number | undefined): number {
    return this.#tree.add(this.#layer, row, kind === EntryKind.directory);
  }

  #linkTarget(row: number): number {
    const tree = this.#tree;
    const target = tree.textOf(this.#layer, row, "target");
    if (target.length > MAX_PATH_BYTES) throw this.#error(row, "the name of its target is too long");
    if (target === tree.textOf(this.#layer, row, "name"))
      throw this.#error(row, "it is a hard link to itself");
    const slash = target.lastIndexOf("/");
    const directory = this.#find(target.slice(0, Math.max(slash, 0)), {});
    const node =
      typeof directory === "number" ? tree.children[directory]?.get(target.slice(slash + 1)) : undefined;
    if (node === undefined) throw this.#error(row, "the target of this hard link does not exist");
    if (tree.isDirectory(node)) throw this.#error(row, "the target of this hard link is a directory");
    return node;
  }

  /** The offset of the last component of a name. */
  #baseStart(offset: number, length: number): number {
    const heap = this.#heap;
    if (offset + length > heap.length) throw new RootfsError("invalid-layer", "a name is outside its index");
    let at = offset + length;
    while (at > offset && heap[at - 1] !== SLASH) at--;
    return at;
  }

  /** Most entries stand in the same directory as the one before them: then no string is made. */
  #parentOf(row: number, offset: number, length: number): number {
    if (length === this.#lastLength && this.#sameBytes(offset, this.#lastOffset, length))
      return this.#lastParent;
    const path = this.#heap.toString("latin1", offset, offset + length);
    const found = this.#find(path, { create: true });
    if (typeof found !== "number") throw this.#error(row, REASONS[found]);
    this.#lastOffset = offset;
    this.#lastLength = length;
    this.#lastParent = found;
    return found;
  }

  #sameBytes(a: number, b: number, length: number): boolean {
    const heap = this.#heap;
    for (let at = length - 1; at >= 0; at--) if (heap[a + at] !== heap[b + at]) return false;
    return true;
  }

  #find(path: string, options: WalkOptions): number | NoDirectory {
    const known = this.#parents.get(path);
    if (known !== undefined) return known;
    const found = walk(this.#tree, path, options);
    if (typeof found === "number") this.#parents.set(path, found);
    return found;
  }

  #forget(): void {
    this.#parents.clear();
    this.#lastLength = -1;
  }

  #error(row: number, why: string): RootfsError {
    return this.#tree.error(this.#layer, row, why);
  }
}
