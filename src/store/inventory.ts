/** What is in the store, by looking: everything that can be collected, in whole or in part. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { BLOB_ALGORITHMS, blobsDir, digestFromHex, isRootfsKey, stored } from "./layout.ts";
import type { Store, StoredName } from "./layout.ts";

export interface StoredThing {
  readonly name: StoredName;
  /** Its files; the commit point first, which is the order of removal. */
  readonly paths: readonly string[];
  /** The commit point is there. */
  readonly isWhole: boolean;
}

export interface Inventory {
  readonly things: readonly StoredThing[];
  /** Files that FlameBox does not put there; nobody touches them. */
  readonly foreign: readonly string[];
}

/** Suffixes in the order of removal, so the commit point first. */
const LAYER_SUFFIXES = ["index", "stamp", "headers", "blob"] as const;
const ROOTFS_SUFFIXES = ["json", "vmdk", "rawstamp", "raw", "erofs"] as const;

function layerName(stem: string): StoredName | undefined {
  const diffId = digestFromHex(stem);
  return diffId && stored.layer(diffId);
}

function rootfsName(stem: string): StoredName | undefined {
  return isRootfsKey(stem) ? stored.rootfs(stem) : undefined;
}

async function group(
  dir: string,
  suffixes: readonly string[],
  nameOf: (stem: string) => StoredName | undefined,
): Promise<Inventory> {
  const found = new Map<string, Set<string>>();
  const foreign: string[] = [];
  for (const file of await readdir(dir)) {
    const dot = file.indexOf(".");
    const [stem, suffix] = [file.slice(0, dot), file.slice(dot + 1)];
    if (nameOf(stem) && suffixes.includes(suffix)) {
      found.set(stem, (found.get(stem) ?? new Set()).add(suffix));
    } else {
      foreign.push(join(dir, file));
    }
  }
  const things = [...found].flatMap(([stem, present]): StoredThing[] => {
    const name = nameOf(stem);
    if (!name) return [];
    const paths = suffixes
      .filter((suffix) => present.has(suffix))
      .map((suffix) => join(dir, `${stem}.${suffix}`));
    return [{ name, paths, isWhole: present.has(suffixes[0] ?? "") }];
  });
  return { things, foreign };
}

async function blobs(store: Store): Promise<Inventory> {
  const things: StoredThing[] = [];
  const foreign: string[] = [];
  for (const algorithm of BLOB_ALGORITHMS) {
    const dir = blobsDir(store.layout, algorithm);
    for (const file of await readdir(dir)) {
      const digest = digestFromHex(file);
      const path = join(dir, file);
      if (digest?.startsWith(`${algorithm}:`)) {
        things.push({ name: stored.blob(digest), paths: [path], isWhole: true });
      } else {
        foreign.push(path);
      }
    }
  }
  return { things, foreign };
}

export async function takeInventory(store: Store): Promise<Inventory> {
  const parts = [
    await blobs(store),
    await group(store.layout.layersDir, LAYER_SUFFIXES, layerName),
    await group(store.layout.rootfsDir, ROOTFS_SUFFIXES, rootfsName),
  ];
  return {
    things: parts.flatMap((part) => part.things),
    foreign: parts.flatMap((part) => part.foreign),
  };
}
