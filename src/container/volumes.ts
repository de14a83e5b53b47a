/**
 * Where something else than the image is in a container: host folders, and volumes, which are directories on the
 * container's own disk. An image's volumes are had unless something is put in their place.
 */
import { mkdir, stat } from "node:fs/promises";
import { isAbsolute } from "node:path";
import type { AnonymousVolume } from "../agent/client.ts";
import type { ExecutionConfig } from "../oci/config.ts";
import { mountTarget } from "../runtime-spec/mounts.ts";
import type { TmpfsMount } from "../runtime-spec/mounts.ts";
import { FlameBoxError, messageOf, systemCode } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import type { BindMount, ContainerOptions } from "./options.ts";

/** The protocol's: protocol/PROTOCOL.md, `container.create`. */
const MAX_VOLUMES = 64;
const MAX_BINDS = 32;

export interface MountPlan {
  readonly volumes: readonly AnonymousVolume[];
  readonly binds: readonly BindMount[];
  readonly tmpfs: readonly TmpfsMount[];
  /** Of volumes and binds; every one is absolute and normal. */
  readonly targets: readonly string[];
}

/**
 * @param image undefined before it is known: what can be wrong without it shows then
 * @throws FlameBoxError `invalid-option`
 */
export function planMounts(options: ContainerOptions, image: ExecutionConfig | undefined): MountPlan {
  const binds = (options.binds ?? []).map((bind) => {
    if (!isAbsolute(bind.source) || bind.source.includes("\0"))
      throw invalid(`the host folder ${quote(bind.source)} is not an absolute path`);
    return { ...bind, target: mountTarget(bind.target, "a host folder") };
  });
  const given = (options.volumes ?? []).map(({ target, readOnly = false, copy = true }) => {
    return { path: mountTarget(target, "a volume"), readonly: readOnly, seed: copy };
  });
  const tmpfs = (options.tmpfs ?? []).map((mount) => ({
    ...mount,
    target: mountTarget(mount.target, "a tmpfs"),
  }));
  const explicit = [...binds, ...tmpfs].map(({ target }) => target).concat(given.map(({ path }) => path));
  refuseTwice(explicit);
  const volumes = [...given, ...volumesOf(image, new Set(explicit))];
  if (volumes.length > MAX_VOLUMES || binds.length > MAX_BINDS)
    throw invalid(`a container has at most ${MAX_VOLUMES} volumes and ${MAX_BINDS} host folders`);
  const targets = [...binds.map(({ target }) => target), ...volumes.map(({ path }) => path)];
  return { volumes, binds, tmpfs, targets };
}

function volumesOf(image: ExecutionConfig | undefined, taken: ReadonlySet<string>): AnonymousVolume[] {
  const paths = Object.keys(image?.Volumes ?? {})
    // An image may say `data` and mean /data, as with its working directory; and nobody can mount over all of it.
    .map((path) => `/${path}`)
    .filter((path) => !/^\/[/.]*$/.test(path))
    .map((path) => mountTarget(path, "a volume of the image"));
  return [...new Set(paths)]
    .filter((path) => !taken.has(path))
    .map((path) => ({ path, readonly: false, seed: true }));
}

function refuseTwice(targets: readonly string[]): void {
  const seen = new Set<string>();
  for (const target of targets) {
    if (seen.has(target)) throw invalid(`two things are to be mounted at ${quote(target)}`);
    seen.add(target);
  }
}

/**
 * Every host folder is there when this returns; `-v` makes missing ones, as Docker does.
 * @throws FlameBoxError `bind-source-missing`
 */
export async function prepareBinds(binds: readonly BindMount[]): Promise<void> {
  for (const { source, createSource = false } of binds) {
    try {
      if (createSource) await makeUnlessThere(source);
      else await stat(source);
    } catch (error) {
      throw new FlameBoxError(
        "bind-source-missing",
        `the host folder ${quote(source)} cannot be used: ${messageOf(error)}`,
        {
          hint: "make it first, or check its name",
          cause: error,
        },
      );
    }
  }
}

async function makeUnlessThere(path: string): Promise<void> {
  try {
    await stat(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    await mkdir(path, { recursive: true });
  }
}

function invalid(message: string): FlameBoxError {
  return new FlameBoxError("invalid-option", message);
}
