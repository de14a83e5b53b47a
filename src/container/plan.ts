/**
 * What a container's options come to, in two steps: what needs nothing else is checked before an image is fetched
 * or a machine made, so that a mistake shows at once; what the image has a say in is decided when it is here.
 */
import type { ExecutionConfig } from "../oci/config.ts";
import type { RuntimeConfig } from "../runtime-spec/config.ts";
import { checkEnclosure, generate } from "../runtime-spec/generate.ts";
import type { ProcessRequest } from "../runtime-spec/generate.ts";
import { requireCpus } from "../machine/host-cpus.ts";
import { FlameBoxError } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import { checkConnection, checkResolver } from "./connection.ts";
import { shortId } from "./container-id.ts";
import type { Healthcheck } from "./healthcheck.ts";
import { checkHealthcheck, healthcheckOf } from "./healthcheck.ts";
import { IDLE_PATH } from "./idle-program.ts";
import type { ContainerOptions } from "./options.ts";
import type { MachineSize } from "./sizing.ts";
import { hostCapacity, sizeMachine } from "./sizing.ts";
import type { StopPlan } from "./stop.ts";
import { stopPlanOf } from "./stop.ts";
import type { MountPlan } from "./volumes.ts";
import { planMounts, prepareBinds } from "./volumes.ts";

/** Every kernel that a profile could ask for, until the real one is known. */
const ANY_KERNEL = "9999.0";

export interface MachinePlan {
  readonly size: MachineSize;
  /** CPUs of the host; undefined is any. */
  readonly hostCpus: readonly number[] | undefined;
}

/** @throws FlameBoxError `invalid-option`, `invalid-seccomp-profile`, `bind-source-missing` */
export async function planMachine(options: ContainerOptions): Promise<MachinePlan> {
  const size = sizeMachine(options, hostCapacity());
  const mounts = planMounts(options, undefined);
  checkEnclosure(requestOf(options, { id: "0".repeat(12), size, mounts, kernelRelease: ANY_KERNEL }));
  checkConnection(options);
  checkResolver(options);
  stopPlanOf({}, options);
  if (options.healthcheck) checkHealthcheck(options.healthcheck);
  labelsOf({}, options);
  if (options.idle === true && (options.command !== undefined || options.entrypoint !== undefined))
    throw new FlameBoxError("invalid-option", "a container that is idle has no command of its own");
  const hostCpus = options.cpusetCpus === undefined ? undefined : await requireCpus(options.cpusetCpus);
  await prepareBinds(mounts.binds);
  return { size, hostCpus };
}

export interface ContainerPlan {
  readonly hostname: string;
  readonly user: string;
  readonly mounts: MountPlan;
  readonly stop: StopPlan;
  readonly healthcheck: Healthcheck | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** config.json, once the guest's kernel is known. */
  readonly configFor: (kernelRelease: string) => RuntimeConfig;
}

/** @throws FlameBoxError `no-command`, `invalid-option` */
export function planContainer(
  id: string,
  image: ExecutionConfig,
  size: MachineSize,
  options: ContainerOptions,
): ContainerPlan {
  const mounts = planMounts(options, image);
  const configFor = (kernelRelease: string): RuntimeConfig =>
    generate(image, requestOf(options, { id, size, mounts, kernelRelease }));
  // Before anything is started: most mistakes in options show here.
  const { hostname } = configFor(ANY_KERNEL);
  return {
    hostname,
    user: options.user ?? image.User ?? "",
    mounts,
    stop: stopPlanOf(image, options),
    healthcheck: healthcheckOf(image, options.healthcheck),
    labels: labelsOf(image, options),
    configFor,
  };
}

interface RequestParts {
  readonly id: string;
  readonly size: MachineSize;
  readonly mounts: MountPlan;
  readonly kernelRelease: string;
}

function requestOf(
  options: ContainerOptions,
  { id, size, mounts, kernelRelease }: RequestParts,
): ProcessRequest {
  const idle = options.idle === true ? { entrypoint: [IDLE_PATH], command: [] } : {};
  return {
    ...options,
    ...idle,
    containerId: id,
    hostname: options.hostname ?? shortId(id),
    share: size.share,
    tmpfs: mounts.tmpfs,
    mountedAt: mounts.targets,
    kernelRelease,
  };
}

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$/;
const MAX_LABELS = 1_000;
const MAX_LABEL_LENGTH = 64 * 1024;

/** @throws FlameBoxError `invalid-option` */
function labelsOf(image: ExecutionConfig, options: ContainerOptions): Record<string, string> {
  const { labels = {}, name } = options;
  if (name !== undefined && !NAME.test(name))
    throw new FlameBoxError("invalid-option", `${quote(name)} is not a container's name`, {
      hint: "use 2 to 128 letters, digits, '_', '.' and '-', beginning with a letter or digit",
    });
  const entries = Object.entries(labels);
  if (
    entries.length > MAX_LABELS ||
    entries.some(([key, value]) => key.length + value.length > MAX_LABEL_LENGTH)
  )
    throw new FlameBoxError("invalid-option", `at most ${MAX_LABELS} labels of 64 KiB each can be given`);
  if (entries.some(([key]) => key === "")) throw new FlameBoxError("invalid-option", "a label has no name");
  return { ...image.Labels, ...labels };
}
