/**
 * What a container was asked to be: `containers/ID/container.json`. Written when it is created, and again only by
 * `rename` and `update`. What it is doing is state.ts's.
 */
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import type { Image } from "../../images/images.ts";
import { writeFileAtomic } from "../../util/atomic-file.ts";
import { FlameBoxError, systemCode } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import type { ContainerOptions } from "../options.ts";
import { containersDir, RECORD_FILE } from "../workspace.ts";

const RECORD_VERSION = 1;
const MAX_RECORD_BYTES = 8 << 20;

/** What of the options is a container's own, and can be written down. */
export type KeptOptions = Omit<
  ContainerOptions,
  | "credentials"
  | "dockerConfig"
  | "ca"
  | "firecracker"
  | "jailer"
  | "onHealth"
  | "onNotice"
  | "onProgress"
  | "onRefused"
  | "paths"
  | "proxies"
  | "signal"
>;

export interface RestartPolicy {
  readonly name: "no" | "on-failure" | "always" | "unless-stopped";
  /** With `on-failure`: so many times at most; 0 is without end. */
  readonly maximumRetryCount: number;
}

export interface LogOptions {
  readonly driver: "local" | "none";
  /** Of one file; the oldest goes when there are more than `maxFiles`. */
  readonly maxSizeBytes: number;
  readonly maxFiles: number;
}

export const DEFAULT_LOG: LogOptions = { driver: "local", maxSizeBytes: 10 << 20, maxFiles: 5 };
export const NO_RESTART: RestartPolicy = { name: "no", maximumRetryCount: 0 };

export interface ContainerRecord {
  /** 64 hexadecimal digits. */
  readonly id: string;
  readonly name: string;
  /** As the user wrote it. */
  readonly imageName: string;
  /** What that stood for. */
  readonly image: Image;
  /** RFC 3339. */
  readonly createdAt: string;
  readonly options: KeptOptions;
  /** What is executed: the image's, or the options'. */
  readonly args: readonly string[];
  /** The image's and the options'. */
  readonly labels: Readonly<Record<string, string>>;
  readonly restart: RestartPolicy;
  readonly log: LogOptions;
  /** Goes when it has ended. */
  readonly autoRemove: boolean;
}

/** Of one that was taken out of its network, without what takes one: it has that again when it is in another. */
export function optionsToStart({ options }: Pick<ContainerRecord, "options">): KeptOptions {
  if (options.network !== "none") return options;
  const { publish: _publish, publishAll: _publishAll, macAddress: _macAddress, addHosts, ...rest } = options;
  return {
    ...rest,
    ...(addHosts && { addHosts: addHosts.filter(({ address }) => address !== "host-gateway") }),
  };
}

const ID = /^[0-9a-f]{64}$/;

/** Ours, and private; so only what everything else stands on is looked at. */
const recordSchema = v.looseObject({
  version: v.literal(RECORD_VERSION),
  id: v.pipe(v.string(), v.regex(ID)),
  name: v.string(),
  imageName: v.string(),
  image: v.looseObject({ reference: v.string(), configDigest: v.string(), diffIds: v.array(v.string()) }),
  createdAt: v.string(),
  options: v.looseObject({}),
  args: v.array(v.string()),
  labels: v.record(v.string(), v.string()),
  restart: v.object({
    name: v.picklist(["no", "on-failure", "always", "unless-stopped"]),
    maximumRetryCount: v.number(),
  }),
  log: v.object({ driver: v.picklist(["local", "none"]), maxSizeBytes: v.number(), maxFiles: v.number() }),
  autoRemove: v.boolean(),
});

export function isContainerId(text: string): boolean {
  return ID.test(text);
}

export function containerDir(paths: Paths, id: string): string {
  return join(containersDir(paths), id);
}

/** Undefined when it is being removed. @throws FlameBoxError `container-damaged` */
export async function readRecord(paths: Paths, id: string): Promise<ContainerRecord | undefined> {
  let text: string;
  try {
    text = await readFile(join(containerDir(paths, id), RECORD_FILE), "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  const parsed = parseRecord(text);
  if (parsed?.id === id) return parsed;
  throw new FlameBoxError("container-damaged", `the record of container ${id.slice(0, 12)} cannot be read`, {
    hint: `remove it: flamebox rm -f ${id.slice(0, 12)}`,
  });
}

export function parseRecord(text: string): ContainerRecord | undefined {
  if (text.length > MAX_RECORD_BYTES) return undefined;
  try {
    const { success, output } = v.safeParse(recordSchema, JSON.parse(text));
    return success ? (output as unknown as ContainerRecord) : undefined;
  } catch {
    return undefined;
  }
}

function textOf(record: ContainerRecord): string {
  return `${JSON.stringify({ version: RECORD_VERSION, ...record }, undefined, 2)}\n`;
}

/** Into a folder that nobody else knows yet. One that is to stay is on the disk when this returns. */
export async function writeNewRecord(dir: string, record: ContainerRecord): Promise<void> {
  const path = join(dir, RECORD_FILE);
  if (record.autoRemove) await writeFile(path, textOf(record), { mode: 0o600 });
  else await writeFileAtomic(path, textOf(record));
}

export async function replaceRecord(paths: Paths, record: ContainerRecord): Promise<void> {
  await writeFileAtomic(join(containerDir(paths, record.id), RECORD_FILE), textOf(record));
}

/** Small files of a container's that are read by others while they are written. */
export async function writeWhole(dir: string, name: string, value: object): Promise<void> {
  const temporary = join(dir, `${name}.tmp`);
  await writeFile(temporary, JSON.stringify(value), { mode: 0o600 });
  await rename(temporary, join(dir, name));
}
