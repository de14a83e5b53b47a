/** From what somebody asks for to a container that is there, and runs when it is told to. */
import type { Image } from "../../images/images.ts";
import { CleanupStack } from "../../util/cleanup.ts";
import { FlameBoxError } from "../../util/error.ts";
import { locatePaths } from "../../util/paths.ts";
import type { Paths } from "../../util/paths.ts";
import { newContainerId } from "../container-id.ts";
import { openHome } from "../home.ts";
import type { ContainerOptions } from "../options.ts";
import { planMachine } from "../plan.ts";
import type { ContainerPlan } from "../plan.ts";
import { prepareImage } from "../prepare.ts";
import { noteEvent } from "./events.ts";
import type { ContainerRecord, KeptOptions, LogOptions, RestartPolicy } from "./record.ts";
import { DEFAULT_LOG, NO_RESTART } from "./record.ts";
import type { Draft } from "./roster.ts";
import { addContainer, checkName } from "./roster.ts";

/** Of a container that stays. */
export interface CreateOptions extends ContainerOptions {
  /** What starts it again when it has ended; default: nothing. */
  readonly restart?: RestartPolicy | undefined;
  readonly log?: Partial<LogOptions> | undefined;
  /** It goes when it has ended. */
  readonly autoRemove?: boolean | undefined;
}

const MIN_LOG_BYTES = 4096;
const MAX_LOG_FILES = 1000;

/** @throws FlameBoxError `invalid-option` */
export function checkCreate({ restart, log, autoRemove, name }: CreateOptions): void {
  if (name !== undefined) checkName(name);
  const { maxSizeBytes, maxFiles } = { ...DEFAULT_LOG, ...log };
  if (!Number.isSafeInteger(maxSizeBytes) || maxSizeBytes < MIN_LOG_BYTES)
    throw invalid(`a log file has at least ${MIN_LOG_BYTES} bytes, not ${maxSizeBytes}`);
  if (!Number.isSafeInteger(maxFiles) || maxFiles < 1 || maxFiles > MAX_LOG_FILES)
    throw invalid(`a log has 1 to ${MAX_LOG_FILES} files, not ${maxFiles}`);
  if (restart === undefined) return;
  const { name: policy, maximumRetryCount: retries } = restart;
  if (!Number.isSafeInteger(retries) || retries < 0)
    throw invalid(`a container is started again 0 or more times, not ${retries}`);
  if (retries > 0 && policy !== "on-failure")
    throw invalid(`the restart policy ${policy} takes no number of times`);
  if (policy !== "no" && autoRemove === true)
    throw invalid("a container cannot both be removed when it ends and be started again");
}

function invalid(message: string): FlameBoxError {
  return new FlameBoxError("invalid-option", message);
}

/** What is written down of the options: neither functions nor secrets, nor what the record has by itself. */
function keptOptions(options: CreateOptions): KeptOptions {
  const {
    signal: _signal,
    onProgress: _onProgress,
    onNotice: _onNotice,
    onHealth: _onHealth,
    onRefused: _onRefused,
    paths: _paths,
    firecracker: _firecracker,
    jailer: _jailer,
    credentials: _credentials,
    dockerConfig: _dockerConfig,
    ca: _ca,
    proxies: _proxies,
    restart: _restart,
    log: _log,
    autoRemove: _autoRemove,
    name: _name,
    ...kept
  } = options;
  return kept;
}

/** Of any kernel: only what it says of the process is wanted. */
const ANY_KERNEL = "9999.0";

export function draftOf(
  id: string,
  {
    name: imageName,
    image,
    plan,
  }: { readonly name: string; readonly image: Image; readonly plan: ContainerPlan },
  options: CreateOptions,
): Draft {
  return {
    id,
    name: options.name,
    imageName,
    image,
    createdAt: new Date().toISOString(),
    options: keptOptions(options),
    args: plan.configFor(ANY_KERNEL).process.args,
    labels: plan.labels,
    restart: options.restart ?? NO_RESTART,
    log: { ...DEFAULT_LOG, ...options.log },
    autoRemove: options.autoRemove ?? false,
  };
}

/**
 * Makes a container, and does not start it; pulls the image unless it is here.
 * @throws FlameBoxError as `start`, but for what only a start can tell; `name-taken`
 */
export async function create(image: string, options: CreateOptions = {}): Promise<ContainerRecord> {
  const paths: Paths = options.paths ?? locatePaths();
  checkCreate(options);
  const machine = await planMachine(options);
  await using cleanup = new CleanupStack();
  const store = cleanup.use(await openHome(options));
  const id = newContainerId();
  let record: ContainerRecord | undefined;
  const onPlanned = async (found: Image, plan: ContainerPlan): Promise<void> => {
    record = await addContainer(paths, draftOf(id, { name: image, image: found, plan }, options));
  };
  // Until its record keeps it, the opened image is what keeps the layers.
  // Its start verifies it.
  const opening = { ...options, verify: false };
  cleanup.use(
    await prepareImage(store, { name: image, berth: { id }, machine, options: opening, onPlanned }),
  );
  if (record === undefined) throw new FlameBoxError("internal-error", "the container has no record");
  await noteEvent(paths, "create", record);
  return record;
}
