/**
 * What a container takes, what is mounted in it, which ports it exposes. The list has it when it is asked for, because it
 * takes a look at the disk and into the image's config.
 */
import { infoOf as imageInfoOf } from "../../images/images.ts";
import { parseConfig } from "../../oci/config.ts";
import type { ExecutionConfig } from "../../oci/config.ts";
import { readBlob } from "../../store/blobs.ts";
import type { Store } from "../../store/layout.ts";
import { openHome } from "../home.ts";
import type { OperationOptions } from "../options.ts";
import { planMounts } from "../volumes.ts";
import { diskUse } from "./info.ts";
import type { ContainerInfo, ContainerMount } from "./info.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir } from "./record.ts";
import type { Paths } from "../../util/paths.ts";

export interface Wanted {
  readonly sizes: boolean;
  readonly surroundings: boolean;
}

export interface Listed {
  readonly record: ContainerRecord;
  readonly info: ContainerInfo;
}

/** The same, with what is wanted besides. */
export async function widened(
  paths: Paths,
  listed: readonly Listed[],
  { sizes, surroundings }: Wanted,
  options: OperationOptions,
): Promise<ContainerInfo[]> {
  await using store = await openHome(options);
  const configs = new Map<string, ExecutionConfig | undefined>();
  const wide: ContainerInfo[] = [];
  for (const { record, info } of listed) {
    options.signal?.throwIfAborted();
    const { configDigest } = record.image;
    if (surroundings && !configs.has(configDigest)) configs.set(configDigest, await configOf(store, record));
    wide.push({
      ...info,
      ...(sizes && {
        sizes: {
          ownBytes: await diskUse(containerDir(paths, record.id)),
          imageBytes: (await imageInfoOf(store, record.image)).sizeBytes,
        },
      }),
      ...(surroundings && surroundingsOf(record, configs.get(configDigest))),
    });
  }
  return wide;
}

/** Undefined when it is not here any more: the container keeps layers, not what is said of them. */
async function configOf(store: Store, { image }: ContainerRecord): Promise<ExecutionConfig | undefined> {
  const bytes = await readBlob(store, image.configDigest).catch(() => undefined);
  try {
    return bytes && parseConfig(bytes).config;
  } catch {
    return undefined;
  }
}

export function surroundingsOf(
  { options }: Pick<ContainerRecord, "options">,
  image: ExecutionConfig | undefined,
): Pick<ContainerInfo, "mounts" | "exposed"> {
  const { binds, volumes } = planMounts(options, image);
  const mounts: ContainerMount[] = [
    ...binds.map(({ source, target }) => ({ type: "bind", source, target }) as const),
    ...volumes.map(({ path }) => ({ type: "volume", target: path }) as const),
  ];
  const { publish = [], expose = [] } = options;
  const named = [...Object.keys(image?.ExposedPorts ?? {}), ...expose].map((text) => text.toLowerCase());
  const ports = [
    ...named.map((text) => (text.includes("/") ? text : `${text}/tcp`)),
    ...publish.map(({ containerPort, protocol }) => `${containerPort}/${protocol}`),
  ];
  return { mounts, exposed: [...new Set(ports)] };
}
