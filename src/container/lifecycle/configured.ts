/**
 * What a container comes to: its image's config and its options, together. Docker's rules, and the same code as for a
 * start: generate.ts for the process, volumes.ts for mounts.
 */
import { imageConfig } from "../../images/images.ts";
import type { ExecutionConfig } from "../../oci/config.ts";
import { environmentOf, workingDirectoryOf } from "../../runtime-spec/generate.ts";
import type { TmpfsMount } from "../../runtime-spec/mounts.ts";
import { layoutOf } from "../../store/layout.ts";
import { FlameBoxError } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import { exposedPorts, publishedPorts } from "../connection.ts";
import { shortId } from "../container-id.ts";
import type { BindMount, HealthcheckOptions, PortMapping } from "../options.ts";
import { planMounts } from "../volumes.ts";
import type { ContainerRecord } from "./record.ts";

/** A container as it is configured, whether it runs or not. */
export interface ContainerConfig {
  /** Undefined where neither the image nor the options have one. */
  readonly entrypoint: readonly string[] | undefined;
  /** What is behind the entrypoint. */
  readonly command: readonly string[] | undefined;
  /** `NAME=value`, as its process is given them. */
  readonly env: readonly string[];
  readonly workdir: string;
  /** `""` is root. */
  readonly user: string;
  readonly hostname: string;
  /** `80/tcp`: those of the image and of the options, and those that are published. */
  readonly exposedPorts: readonly string[];
  /** What is asked for: a host port of 0 is a free one at each start. */
  readonly publish: readonly PortMapping[];
  readonly binds: readonly BindMount[];
  /** On its own disk: the image's and the options'. */
  readonly volumes: readonly { readonly target: string; readonly readOnly: boolean }[];
  readonly tmpfs: readonly TmpfsMount[];
  /** As it was written; undefined is SIGTERM. */
  readonly stopSignal: string | undefined;
  /** Only what somebody has said; undefined without a check. */
  readonly healthcheck: HealthcheckOptions | undefined;
}

/**
 * Undefined when the image's config cannot be read, or goes with the options no more: a start would say so.
 */
export async function configOf(paths: Paths, record: ContainerRecord): Promise<ContainerConfig | undefined> {
  try {
    const { config = {} } = await imageConfig({ layout: layoutOf(paths.dataDir) }, record.image);
    return configure(record, config);
  } catch (error) {
    if (error instanceof FlameBoxError) return undefined;
    throw error;
  }
}

/** @throws FlameBoxError `invalid-option` */
export function configure(
  { id, args, options }: Pick<ContainerRecord, "id" | "args" | "options">,
  image: ExecutionConfig,
): ContainerConfig {
  const hostname = options.hostname ?? shortId(id);
  const { binds, volumes, tmpfs } = planMounts(options, image);
  const publish = publishedPorts(options, image);
  return {
    ...commandOf(args, options, image),
    env: environmentOf(image, { ...options, hostname }),
    workdir: workingDirectoryOf(image, options),
    user: options.user ?? image.User ?? "",
    hostname,
    exposedPorts: exposedPorts(options, image),
    publish,
    binds,
    volumes: volumes.map(({ path, readonly }) => ({ target: path, readOnly: readonly })),
    tmpfs,
    stopSignal: options.stopSignal ?? image.StopSignal,
    healthcheck: healthcheckOf(image, options.healthcheck),
  };
}

/** An entrypoint of the options clears the image's command. */
function commandOf(
  args: readonly string[],
  { entrypoint, command = [], idle = false }: ContainerRecord["options"],
  image: ExecutionConfig,
): Pick<ContainerConfig, "entrypoint" | "command"> {
  if (idle) return { entrypoint: args, command: undefined };
  const own = entrypoint === undefined ? image.Cmd : undefined;
  return { entrypoint: entrypoint ?? image.Entrypoint, command: command.length > 0 ? command : own };
}

const NS_PER_MS = 1e6;

function healthcheckOf(
  { Healthcheck: own }: ExecutionConfig,
  options: HealthcheckOptions | false | undefined,
): HealthcheckOptions | undefined {
  if (options === false) return { test: ["NONE"] };
  const test = options?.test ?? own?.Test ?? [];
  if (test.length === 0) return undefined;
  const ms = (given: number | undefined, ofImage: number | undefined) =>
    given || (ofImage === undefined || ofImage === 0 ? undefined : ofImage / NS_PER_MS);
  return {
    test,
    intervalMs: ms(options?.intervalMs, own?.Interval),
    timeoutMs: ms(options?.timeoutMs, own?.Timeout),
    startPeriodMs: ms(options?.startPeriodMs, own?.StartPeriod),
    startIntervalMs: ms(options?.startIntervalMs, own?.StartInterval),
    retries: options?.retries || own?.Retries || undefined,
  };
}
