/** Random layer stacks, merged by us and by a naive model that knows no caches, columns or shared nodes. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { merge } from "../../src/rootfs/merge.ts";
import { RootfsError } from "../../src/rootfs/rootfs-error.ts";
import { validate } from "../../src/rootfs/validate.ts";
import { openBytes, imageOf } from "../support/erofs-image.ts";
import { buildLayers, dir, file, hardlink, opaque, symlink, whiteout } from "../support/layer-index.ts";
import type { Entry } from "../support/layer-index.ts";
import { showTree } from "../support/show-tree.ts";

/** A file system as nested maps of objects; a hard link is the same object twice. */
type Node =
  | { kind: "dir"; mode: number; children: Map<string, Node> }
  | { kind: "file"; text: string }
  | { kind: "link"; text: string };
type Dir = Extract<Node, { kind: "dir" }>;
class Refused extends Error {}

const newDir = (mode = 0o755): Dir => ({ kind: "dir", mode, children: new Map() });

/** Resolves recursively, one path from the root at a time. */
function resolve(
  root: Dir,
  path: string[],
  make: boolean,
  stop: (path: string) => boolean,
  hops = { left: 40 },
): Dir | undefined {
  const done: string[] = [];
  let at: Dir = root;
  for (const [index, name] of path.entries()) {
    if (name === "" || name === ".") continue;
    if (name === "..") {
      done.pop();
      return resolve(root, [...done, ...path.slice(index + 1)], make, stop, hops);
    }
    if (!make && !at.children.has(name)) return undefined;
    const next = at.children.get(name) ?? newDir();
    at.children.set(name, next);
    if (next.kind === "file") {
      if (make) throw new Refused("not a directory");
      return undefined;
    }
    if (next.kind === "link") {
      if (hops.left === 40 && stop([...done, name].join("/"))) return undefined;
      if (--hops.left < 0) throw new Refused("loop");
      const start = next.text.startsWith("/") ? [] : done;
      return resolve(
        root,
        [...start, ...next.text.split("/"), ...path.slice(index + 1)],
        make,
        () => false,
        hops,
      );
    }
    done.push(name);
    at = next;
  }
  return at;
}

function applyModel(root: Dir, layer: Entry[]): void {
  const dirs = new Set(layer.filter(({ kind }) => kind === "directory").map(({ name }) => name));
  for (const { kind, name } of layer) {
    const path = name.split("/");
    if (kind === "opaque") resolve(root, path, false, (each) => dirs.has(each))?.children.clear();
    if (kind !== "whiteout") continue;
    resolve(root, path.slice(0, -1), false, (each) => dirs.has(each))?.children.delete(path.at(-1) ?? "");
  }
  for (const entry of layer) {
    if (entry.kind === "opaque" || entry.kind === "whiteout") continue;
    if (entry.name === "") {
      root.mode = entry.mode ?? 0;
      continue;
    }
    const path = entry.name.split("/");
    const name = path.at(-1) ?? "";
    const parent = resolve(root, path.slice(0, -1), true, () => false) ?? root;
    const old = parent.children.get(name);
    if (entry.kind === "directory") {
      if (old?.kind === "dir") old.mode = entry.mode ?? 0;
      else parent.children.set(name, newDir(entry.mode));
    } else if (entry.kind === "hardlink") {
      const target = (entry.target ?? "").split("/");
      if (entry.target === entry.name) throw new Refused("itself");
      const node = linkParent(root, target)?.children.get(target.at(-1) ?? "");
      if (node === undefined || node.kind === "dir") throw new Refused("target");
      parent.children.set(name, node);
    } else if (entry.kind === "symlink") {
      parent.children.set(name, { kind: "link", text: entry.target ?? "" });
    } else {
      parent.children.set(name, { kind: "file", text: Buffer.from(entry.data ?? []).toString("latin1") });
    }
  }
}

function linkParent(root: Dir, target: string[]): Dir | undefined {
  return resolve(root, target.slice(0, -1), false, () => false);
}

function showModel(root: Dir): string[] {
  const names = new Map<Node, number>();
  const count = (node: Dir): void => {
    for (const child of node.children.values()) {
      names.set(child, (names.get(child) ?? 0) + 1);
      if (child.kind === "dir") count(child);
    }
  };
  count(root);
  const mode = (node: Dir): string => (node.mode === 0o755 ? "" : ` ${node.mode.toString(8)}`);
  const lines = root.mode === 0o755 ? [] : [`/${mode(root)}`];
  const show = (node: Dir, prefix: string): void => {
    for (const [name, child] of [...node.children].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      const links = names.get(child) === 1 ? "" : ` x${names.get(child)}`;
      const path = prefix + name;
      if (child.kind === "dir") {
        lines.push(`${path}/${mode(child)}`);
        show(child, `${path}/`);
      } else {
        lines.push(`${path}${child.kind === "link" ? "->" : "="}${child.text}${links}`);
      }
    }
  };
  show(root, "");
  return lines;
}

// Few names, so that entries meet each other.
const name = fc.constantFrom("a", "b", "c", "-", "..x");
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const target = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.tuple(fc.constantFrom("", "/", "../", "./"), path).map((parts) => parts.join("")),
  },
  { weight: 1, arbitrary: fc.constantFrom(".", "/", "..") },
);
const mode = fc.constantFrom(0o755, 0o700, 0o1777);
const entry: fc.Arbitrary<Entry> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(path, mode).map(([at, bits]) => dir(at, { mode: bits })) },
  { weight: 4, arbitrary: fc.tuple(path, fc.constantFrom("", "1", "2")).map(([at, data]) => file(at, data)) },
  { weight: 3, arbitrary: fc.tuple(path, target).map(([at, to]) => symlink(at, to)) },
  { weight: 2, arbitrary: fc.tuple(path, path).map(([at, to]) => hardlink(at, to)) },
  { weight: 2, arbitrary: path.map(whiteout) },
  { weight: 1, arbitrary: fc.oneof(path, fc.constant("")).map(opaque) },
  { weight: 1, arbitrary: mode.map((bits) => dir("", { mode: bits })) },
);
const stacks = fc.array(fc.array(entry, { maxLength: 7 }), { maxLength: 4 });

/** Lines, or undefined when the stack is refused. Anything else thrown is a failure. */
function attempt(build: () => string[], refusal: new (...args: never[]) => Error): string[] | undefined {
  try {
    return build();
  } catch (error) {
    if (error instanceof refusal) return undefined;
    throw error;
  }
}

test("random stacks merge as the model does", () => {
  let merged = 0;
  fc.assert(
    fc.property(stacks, (stack) => {
      const ours = attempt(() => showTree(validate(merge(buildLayers(stack)))), RootfsError);
      const model = attempt(() => {
        const root = newDir();
        for (const layer of stack) applyModel(root, layer);
        return showModel(root);
      }, Refused);
      if (ours !== undefined) merged++;
      expect(ours).toEqual(model);
    }),
    { seed: 3, numRuns: 6000 },
  );
  // Otherwise the test would say nothing.
  expect(merged).toBeGreaterThan(2000);
});

test("what was merged is read back from the image, in order", () => {
  fc.assert(
    fc.property(stacks, (stack) => {
      const layers = buildLayers(stack);
      const expected = attempt(() => showTree(validate(merge(layers))), RootfsError);
      fc.pre(expected !== undefined);
      const erofs = openBytes(imageOf(layers));
      const names = (nid: number, prefix: string): string[] =>
        [...erofs.entries(erofs.inode(nid))].flatMap((child) => {
          const isDir = erofs.inode(child.nid).mode >>> 12 === 4;
          return [prefix + child.name, ...(isDir ? names(child.nid, `${prefix}${child.name}/`) : [])];
        });
      const paths = (expected ?? [])
        .filter((each) => !each.startsWith("/"))
        .map((each) => each.replace(/(->|=|\/$|\/ ).*/, ""));
      expect(names(erofs.root.nid, "")).toEqual(paths);
    }),
    { seed: 4, numRuns: 500 },
  );
});
