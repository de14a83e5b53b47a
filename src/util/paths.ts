/**
 * Where FlameBox keeps what it has. The library never reads the environment: the command line passes its
 * environment to `locatePaths`, a program may pass its own, or build `Paths` by hand.
 *
 *     dataDir/     blobs/ layers/ images/ rootfs/ kernels/ guest/ scratch/ containers/ templates/ firecracker/ probe/ tmp/
 *                  jails/, cni/: of running machines, where root started them
 *     runtimeDir/  one directory a running machine (sockets, pids)
 */
import { homedir, tmpdir, userInfo } from "node:os";
import { join } from "node:path";

export interface Paths {
  /** Kept across reboots. 0700. */
  readonly dataDir: string;
  /** Gone after a reboot at the latest. 0700. */
  readonly runtimeDir: string;
}

export interface PathEnvironment {
  readonly FLAMEBOX_HOME?: string | undefined;
  readonly XDG_DATA_HOME?: string | undefined;
  readonly XDG_RUNTIME_DIR?: string | undefined;
  readonly HOME?: string | undefined;
}

/** `FLAMEBOX_HOME` moves both; then the XDG directories; then `~/.local/share` and the temporary directory. */
export function locatePaths(environment: PathEnvironment = {}): Paths {
  const { FLAMEBOX_HOME, XDG_DATA_HOME, XDG_RUNTIME_DIR, HOME } = environment;
  if (FLAMEBOX_HOME) return { dataDir: join(FLAMEBOX_HOME, "data"), runtimeDir: join(FLAMEBOX_HOME, "run") };
  const dataHome = XDG_DATA_HOME || join(HOME || homedir(), ".local", "share");
  const runtimeHome = XDG_RUNTIME_DIR || join(tmpdir(), `flamebox-${userInfo().uid}`);
  return { dataDir: join(dataHome, "flamebox"), runtimeDir: join(runtimeHome, "flamebox") };
}
