/**
 * Which module files a guest needs, and in which order. `modules.dep` (made by depmod) names for each module
 * the ones it needs: `kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz …`.
 */
import { basename } from "node:path";
import { MachineError } from "../machine.ts";

/** What FlameBox's guest uses; kernels that have some of it built in just have no module of that name. */
export const GUEST_MODULES = [
  "virtio_mmio",
  "virtio_blk",
  "virtio_net",
  "erofs",
  "overlay",
  "virtio-rng",
  "vmw_vsock_virtio_transport",
] as const;

export type ModuleDependencies = ReadonlyMap<string, readonly string[]>;

/** Module names treat `-` and `_` alike, as modprobe does. */
export function moduleName(file: string): string {
  return basename(file)
    .replace(/\.ko(\.[a-z0-9]+)?$/, "")
    .replaceAll("-", "_");
}

const RELATIVE_FILE = /^[0-9A-Za-z][0-9A-Za-z_./+-]*\.ko(\.[a-z0-9]+)?$/;

/** @throws MachineError `bad-modules-dep` */
export function parseModulesDep(text: string): ModuleDependencies {
  const result = new Map<string, readonly string[]>();
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const colon = line.indexOf(":");
    const file = line.slice(0, Math.max(0, colon));
    const needs = line
      .slice(colon + 1)
      .split(" ")
      .filter((word) => word !== "");
    for (const path of [file, ...needs]) {
      if (!RELATIVE_FILE.test(path) || path.split("/").includes(".."))
        throw new MachineError(
          "bad-modules-dep",
          `modules.dep line ${index + 1} names no module file: ${JSON.stringify(path)}`,
        );
    }
    result.set(file, needs);
  }
  return result;
}

/**
 * Files to load, dependencies first. Names that have no module are left out: they are built in, or the
 * guest will say what it misses.
 * @throws MachineError `bad-modules-dep` for a cycle
 */
export function loadOrder(dependencies: ModuleDependencies, names: readonly string[]): string[] {
  const byName = new Map([...dependencies.keys()].map((file) => [moduleName(file), file]));
  const order: string[] = [];
  const state = new Map<string, "visiting" | "done">();
  const visit = (file: string): void => {
    if (state.get(file) === "done") return;
    if (state.get(file) === "visiting")
      throw new MachineError("bad-modules-dep", `modules.dep has a cycle at ${file}`);
    state.set(file, "visiting");
    // modules.dep lists the nearest dependency first; the farthest has to be loaded first.
    for (const needed of (dependencies.get(file) ?? []).toReversed()) visit(needed);
    state.set(file, "done");
    order.push(file);
  };
  for (const name of names) {
    const file = byName.get(name.replaceAll("-", "_"));
    if (file !== undefined) visit(file);
  }
  return order;
}
