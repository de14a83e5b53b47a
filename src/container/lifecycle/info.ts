/** What is told of containers: by the list, and in full. */
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Paths } from "../../util/paths.ts";
import type { PortMapping } from "../options.ts";
import { configOf } from "./configured.ts";
import type { ContainerConfig } from "./configured.ts";
import { Workspace } from "../workspace.ts";
import { containerDir } from "./record.ts";
import type { ContainerRecord, KeptOptions, LogOptions, RestartPolicy } from "./record.ts";
import type { ContainerState, Status } from "./state.ts";
import { readState } from "./state.ts";

/** A container that is here. */
export interface ContainerInfo {
  /** 64 hexadecimal digits; people use the first 12. */
  readonly id: string;
  readonly name: string;
  /** As the user wrote it. */
  readonly image: string;
  /** Docker's image id: the digest of the config. */
  readonly imageId: string;
  readonly args: readonly string[];
  readonly status: Status;
  /** Undefined without a health check, or when it does not run. */
  readonly health?: "starting" | "healthy" | "unhealthy" | undefined;
  /** RFC 3339. */
  readonly createdAt: string;
  readonly startedAt?: string | undefined;
  readonly finishedAt?: string | undefined;
  /** Of the last end. */
  readonly exitCode?: number | undefined;
  readonly oomKilled: boolean;
  /** Why it did not start, or was lost. */
  readonly error?: string | undefined;
  readonly restartCount: number;
  readonly ports: readonly PortMapping[];
  readonly labels: Readonly<Record<string, string>>;
  readonly network: string;
  /** Only in a list that was asked for `sizes`. */
  readonly sizes?: ContainerSizes | undefined;
  /** Host folders and volumes, the image's too. Only in a list that was asked for `surroundings`. */
  readonly mounts?: readonly ContainerMount[] | undefined;
  /** `80/tcp`, `8000-8010/udp`: by the image, or by options. Only in a list that was asked for `surroundings`. */
  readonly exposed?: readonly string[] | undefined;
}

export interface ContainerSizes {
  /** What its folder takes on this host's disk: its writable disk and its log. */
  readonly ownBytes: number;
  /** Of its image, which others may share. */
  readonly imageBytes: number;
}

export interface ContainerMount {
  readonly type: "bind" | "volume";
  /** On this host. A volume is on the container's own disk, and has none. */
  readonly source?: string | undefined;
  /** In the container; absolute. */
  readonly target: string;
}

/** All that there is to know. */
export interface ContainerDetails extends ContainerInfo {
  readonly state: ContainerState;
  readonly options: KeptOptions;
  /** Its image's config and the options, together; undefined when that config cannot be read. */
  readonly config: ContainerConfig | undefined;
  readonly restart: RestartPolicy;
  readonly log: LogOptions;
  readonly autoRemove: boolean;
  /** What its folder takes on this host's disk: its writable disk and its log, without the image. */
  readonly sizeBytes: number;
  /** Its folder on this host. */
  readonly dir: string;
  /** What its image was made of. */
  readonly platform: string;
}

export async function infoOf(paths: Paths, record: ContainerRecord): Promise<ContainerInfo> {
  return withState(record, await readState(paths, record.id));
}

function withState(record: ContainerRecord, state: ContainerState): ContainerInfo {
  const { id, name, imageName, image, args, createdAt, labels, options } = record;
  return {
    id,
    name,
    image: imageName,
    imageId: image.configDigest,
    args,
    status: state.status,
    ...(state.live !== undefined && state.health !== undefined && { health: state.health.status }),
    createdAt,
    startedAt: state.startedAt,
    finishedAt: state.finishedAt,
    exitCode: state.exitCode,
    oomKilled: state.oomKilled ?? false,
    error: state.error,
    restartCount: state.restartCount,
    ports: state.live?.ports ?? [],
    labels,
    network: options.network ?? "user",
  };
}

export async function detailsOf(paths: Paths, record: ContainerRecord): Promise<ContainerDetails> {
  const state = await readState(paths, record.id);
  const { os, architecture, variant } = record.image.platform;
  const dir = containerDir(paths, record.id);
  return {
    ...withState(record, state),
    state,
    options: record.options,
    config: await configOf(paths, record),
    restart: record.restart,
    log: record.log,
    autoRemove: record.autoRemove,
    sizeBytes: await diskUse(dir),
    dir,
    platform: [os, architecture, ...(variant === undefined ? [] : [variant])].join("/"),
  };
}

const BLOCK_BYTES = 512;

/**
 * Disks have holes, and the template's, over which the container's own one lies, is shared with others. That own one may
 * have a second name while it is used, in its machine's jail.
 */
export async function diskUse(dir: string): Promise<number> {
  let sizeBytes = 0;
  const backing = basename(new Workspace(dir).backingPath);
  for (const name of await readdir(dir).catch(() => [])) {
    const found = await stat(join(dir, name)).catch(() => undefined);
    const isShared = name === backing && found?.nlink !== 1;
    if (found?.isFile() === true && !isShared) sizeBytes += found.blocks * BLOCK_BYTES;
  }
  return sizeBytes;
}
