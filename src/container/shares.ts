/** Host folders and files of a container: opened before its machine starts, so that a wrong path is told at once. */
import { posix } from "node:path";
import type { Readable, Writable } from "node:stream";
import type { SharedPlace } from "../agent/client.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError } from "../util/error.ts";
import type { BindMount } from "./options.ts";

/** protocol/PROTOCOL.md, `container.create`. */
const MAX_SHARES = 32;

export interface OpenedShares extends AsyncDisposable {
  /** A directory comes before what lies below it. */
  readonly places: readonly SharedPlace[];
}

/**
 * `onNotice` is told of a share that ends while the container goes on.
 * @throws FlameBoxError `invalid-option`, ShareError
 */
export async function openShares(
  binds: readonly BindMount[],
  onNotice: (notice: string) => void = () => {},
): Promise<OpenedShares> {
  const checked = inOrder(binds.map(check));
  await using cleanup = new CleanupStack();
  if (checked.length === 0) return { places: [], [Symbol.asyncDispose]: async () => {} };
  const { Share } = await import("../share/share.ts");
  const places: SharedPlace[] = [];
  for (const { source, target, readonly } of checked) {
    const share = cleanup.use(await Share.open(source, { readonly }));
    const serve = async (requests: Readable, replies: Writable): Promise<void> => {
      const problem = await share.serve(requests, replies);
      if (problem !== undefined)
        onNotice(`${source} is no longer shared with the container: ${problem.message}`);
    };
    places.push({
      path: target,
      kind: share.kind,
      readonly,
      serve: (requests, replies) => void serve(requests, replies),
    });
  }
  const owned = cleanup.move();
  return { places, [Symbol.asyncDispose]: async () => await owned[Symbol.asyncDispose]() };
}

function check(bind: BindMount): BindMount {
  const refuse = (what: string, hint?: string): never => {
    throw new FlameBoxError("invalid-option", what, { hint });
  };
  const { source, target } = bind;
  for (const path of [source, target]) {
    if (!path.startsWith("/") || path.includes("\0"))
      refuse(`a mount needs absolute paths, not ${JSON.stringify(path.slice(0, 300))}`);
  }
  const normal = posix.normalize(`${target}/`).replace(/^\/+/, "/").slice(0, -1);
  if (normal === "") refuse("a host folder cannot become the root directory", "name a directory below /");
  if (/^\/proc(\/|$)/.test(normal))
    refuse(`${target} belongs to the guest's kernel`, "name another directory");
  return { ...bind, target: normal };
}

function inOrder(binds: readonly BindMount[]): BindMount[] {
  if (binds.length > MAX_SHARES)
    throw new FlameBoxError("invalid-option", `${binds.length} host folders, allowed are ${MAX_SHARES}`, {
      hint: "give a common parent directory",
    });
  const seen = new Set<string>();
  for (const { target } of binds) {
    if (seen.has(target))
      throw new FlameBoxError("invalid-option", `two mounts have the same place ${target}`);
    seen.add(target);
  }
  const depth = ({ target }: BindMount): number => target.split("/").length;
  return binds.toSorted((a, b) => depth(a) - depth(b));
}
