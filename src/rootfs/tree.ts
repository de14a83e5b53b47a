/**
 * The tree while layers are merged into it. It copies nothing: a node is a reference to a row of a layer's
 * index, and a directory is a map from names to nodes. Names are latin1 strings, one character a byte.
 *
 *     node ─► layerOf, rowOf ─► columns of the LayerIndex (mode, owner, size, where the data is, …)
 *          └► children: Map<name, node>       (directories; hard links are names of one node)
 */
import type { Digest } from "../reference/digest.ts";
import { EntryKind } from "./layer-index.ts";
import type { LayerIndex } from "./layer-index.ts";
import { RootfsError, printable } from "./rootfs-error.ts";

export interface Layer {
  readonly diffId: Digest;
  readonly index: LayerIndex;
}

export const ROOT = 0;
/** The layer of a directory that no layer has an entry for: 0755, owned by root, from 1970. */
export const IMPLICIT = -1;

/** As Linux does: https://man7.org/linux/man-pages/man7/path_resolution.7.html */
export const MAX_SYMLINK_HOPS = 40;
export const MAX_PATH_BYTES = 4095;
export const MAX_NAME_BYTES = 255;
/**
 * Of all paths of an image together, a component each. Forty symlinks can make one path 80,000 steps long, and a
 * layer of 100 KB has a path for each of ten thousand files: a processor would be busy for minutes.
 */
const MAX_STEPS = 16_000_000;
/** Directories that no layer has an entry for. One name of 4 KB makes 2,000, so few entries could take all memory. */
const MAX_MADE = 500_000;

export class Tree {
  readonly layers: Layer[] = [];
  readonly heaps: Buffer[] = [];
  /** One element a node. */
  readonly layerOf: number[] = [];
  readonly rowOf: number[] = [];
  readonly children: (Map<string, number> | undefined)[] = [];
  /** How far paths have been walked so far. */
  steps = 0;
  /** How many directories have been made on the way. */
  made = 0;

  constructor() {
    this.add(IMPLICIT, 0, true);
  }

  /** Its rows can be nodes from now on. Returns its number. */
  addLayer(layer: Layer): number {
    const { heap } = layer.index;
    this.heaps.push(Buffer.from(heap.buffer, heap.byteOffset, heap.byteLength));
    return this.layers.push(layer) - 1;
  }

  add(layer: number, row: number, isDirectory: boolean): number {
    this.layerOf.push(layer);
    this.rowOf.push(row);
    return this.children.push(isDirectory ? new Map() : undefined) - 1;
  }

  isDirectory(node: number): boolean {
    return this.children[node] !== undefined;
  }

  isSymlink(node: number): boolean {
    const index = this.layers[this.layerOf[node] ?? IMPLICIT]?.index;
    return index?.kind[this.rowOf[node] ?? 0] === EntryKind.symlink;
  }

  /** The target of a symlink node. */
  targetOf(node: number): string {
    return this.textOf(this.layerOf[node] ?? IMPLICIT, this.rowOf[node] ?? 0, "target");
  }

  /** A row's name or target. A heap range that is none reads as empty or cut, and is refused later. */
  textOf(layer: number, row: number, what: "name" | "target"): string {
    const index = this.layers[layer]?.index;
    const heap = this.heaps[layer];
    if (index === undefined || heap === undefined) return "";
    const offset = (what === "name" ? index.nameOffset : index.targetOffset)[row] ?? 0;
    const length = (what === "name" ? index.nameLength : index.targetLength)[row] ?? 0;
    return heap.toString("latin1", Math.min(offset, heap.length), Math.min(offset + length, heap.length));
  }

  /** An error about one row of a layer. */
  error(layer: number, row: number, why: string): RootfsError {
    const { diffId } = this.layers[layer] ?? {};
    const name = printable(this.textOf(layer, row, "name"));
    return new RootfsError("invalid-layer", `layer ${diffId}: cannot apply ${name}: ${why}`, {
      hint: "the image is damaged or was made by a faulty tool; rebuild it or use another tag",
    });
  }
}

/** Why a path leads to no directory. */
export type NoDirectory = "missing" | "not-a-directory" | "symlink-loop" | "too-far" | "too-many-made";

export interface WalkOptions {
  /** Makes missing directories instead of answering `missing`. */
  readonly create?: boolean;
  /** Asked before the first symlink is followed, with its path; true ends the walk with `missing`. */
  readonly stopAtSymlink?: (path: string) => boolean;
}

/**
 * The directory a path leads to, following symlinks, all inside the root: an absolute target starts again
 * at the root, and `..` ends there.
 */
export function walk(tree: Tree, path: string, options: WalkOptions = {}): number | NoDirectory {
  let trail = [ROOT];
  const pending = path.split("/").toReversed();
  let walked = "";
  let hops = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (++tree.steps > MAX_STEPS) return "too-far";
    if (name === "" || name === ".") continue;
    if (name === "..") {
      if (trail.length > 1) trail.pop();
      continue;
    }
    const directory = trail.at(-1) ?? ROOT;
    if (hops === 0) walked = walked === "" ? name : `${walked}/${name}`;
    const node = tree.children[directory]?.get(name);
    if (node === undefined) {
      if (options.create !== true) return "missing";
      if (++tree.made > MAX_MADE) return "too-many-made";
      const made = tree.add(IMPLICIT, 0, true);
      tree.children[directory]?.set(name, made);
      trail.push(made);
    } else if (tree.isDirectory(node)) {
      trail.push(node);
    } else if (tree.isSymlink(node)) {
      if (hops === 0 && options.stopAtSymlink?.(walked) === true) return "missing";
      if (++hops > MAX_SYMLINK_HOPS) return "symlink-loop";
      const target = tree.targetOf(node);
      if (target.startsWith("/")) trail = [ROOT];
      for (const part of target.split("/").toReversed()) pending.push(part);
    } else {
      return "not-a-directory";
    }
  }
  return trail.at(-1) ?? ROOT;
}
