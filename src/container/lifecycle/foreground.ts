/**
 * A container that a command waits for: kept by the command's own process, so that there is no second one to start.
 * Everything else sees it as any other: it has a name, and a control socket.
 */
import type { Readable, Writable } from "node:stream";
import { FlameBoxError } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import { locatePaths } from "../../util/paths.ts";
import { assemble } from "../assemble.ts";
import type { Assembled } from "../assemble.ts";
import type { Berth } from "../berth.ts";
import { newContainerId } from "../container-id.ts";
import { LocalAttachment } from "../control/attached.ts";
import { ControlServer } from "../control/server.ts";
import { EgressLog } from "../log/egress.ts";
import type { ContainerExit, PortMapping } from "../options.ts";
import type { Surroundings } from "../prepare.ts";
import type { Container } from "../running.ts";
import { createWorkspace } from "../workspace.ts";
import type { CreateOptions } from "./create.ts";
import { checkCreate, draftOf } from "./create.ts";
import { noteEvent } from "./events.ts";
import { Keeper } from "./keeper.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir } from "./record.ts";
import { registerContainer, removeContainerFiles } from "./roster.ts";
import { CREATED } from "./state.ts";

/** A container whose streams are somebody's. Dispose it to be done with it; what that means is its maker's to say. */
export interface AttachedContainer extends AsyncDisposable {
  readonly id: string;
  readonly name: string;
  readonly machine: string;
  readonly kernelRelease: string;
  readonly bootRetries: number;
  readonly memoryLimitBytes: number;
  readonly ports: readonly PortMapping[];
  /** Null where the container takes no input. */
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Whether it goes on when it is disposed. */
  readonly survives: boolean;
  /** Resolves when it has ended and its output was taken. */
  wait(): Promise<ContainerExit>;
  /** Sends a signal (1 … 64) to the first process. */
  kill(signal: number): Promise<void>;
  /** Tells the container's terminal its size. */
  resize(size: { readonly columns: number; readonly rows: number }): Promise<void>;
}

/**
 * Starts a container and attaches to it. When the result is disposed the container is ended.
 * @throws FlameBoxError as `start`; `name-taken`
 */
export async function runInForeground(
  surroundings: Surroundings,
  image: string,
  options: CreateOptions,
): Promise<AttachedContainer> {
  checkCreate(options);
  const paths = options.paths ?? locatePaths();
  const id = newContainerId();
  const egressLog = new EgressLog(containerDir(paths, id), { onProblem: options.onNotice });
  const { assembled, record } = await assembleNew({
    surroundings,
    paths,
    image,
    id,
    egressLog,
    options,
  }).catch(async (error: unknown) => {
    await egressLog[Symbol.asyncDispose]();
    throw error;
  });
  const keeper = new Keeper({
    surroundings,
    record,
    state: CREATED,
    first: assembled,
    egressLog,
    options: { ...options, paths },
  });
  const local = new LocalAttachment();
  keeper.attachments.add(local);
  const running = keeper.run({ signal: options.signal });
  running.catch(() => {});
  // Nobody can know it before its process runs, so that is not waited for.
  const listening = ControlServer.listen(paths, keeper);
  listening.catch((error: Error) => options.onNotice?.(error.message));
  let container: Container;
  try {
    container = await Promise.race([keeper.started, running.then(() => keeper.started)]);
  } catch (error) {
    await (await listening.catch(() => undefined))?.[Symbol.asyncDispose]();
    throw error;
  }
  return attached({ keeper, container, local, running, listening });
}

interface Kept {
  readonly keeper: Keeper;
  readonly container: Container;
  readonly local: LocalAttachment;
  readonly running: Promise<unknown>;
  readonly listening: Promise<AsyncDisposable>;
}

function attached({ keeper, container, local, running, listening }: Kept): AttachedContainer {
  let disposed: Promise<void> | undefined;
  const dispose = async (): Promise<void> => {
    // Nobody reads any more; the container's end must not wait for that.
    local.stdout.destroy();
    local.stderr.destroy();
    await keeper.stop({ timeoutMs: 0 });
    await running.catch(() => {});
    await (await listening.catch(() => undefined))?.[Symbol.asyncDispose]();
  };
  return {
    id: container.id,
    name: keeper.record.name,
    machine: container.machine,
    kernelRelease: container.kernelRelease,
    bootRetries: container.bootRetries,
    memoryLimitBytes: container.memoryLimitBytes,
    ports: container.ports,
    stdin: container.stdin,
    stdout: local.stdout,
    stderr: local.stderr,
    survives: false,
    wait: async () => await local.ended,
    kill: async (signal) => await keeper.kill(signal),
    resize: async (size) => await container.resize(size),
    [Symbol.asyncDispose]: async () => await (disposed ??= dispose()),
  };
}

interface NewContainer {
  readonly surroundings: Surroundings;
  readonly paths: Paths;
  readonly image: string;
  readonly id: string;
  readonly egressLog: EgressLog;
  readonly options: CreateOptions;
}

async function assembleNew({
  surroundings,
  paths,
  image,
  id,
  egressLog,
  options,
}: NewContainer): Promise<{ readonly assembled: Assembled; readonly record: ContainerRecord }> {
  let record: ContainerRecord | undefined;
  let isKept = false;
  const berthOf = async (): Promise<Berth> => {
    const workspace = await createWorkspace(paths, id);
    const dispose = async (): Promise<void> => {
      if (isKept) return;
      if (record === undefined) await workspace[Symbol.asyncDispose]();
      else await removeContainerFiles(paths, record);
    };
    const disk = options.autoRemove === true ? "passing" : "lasting";
    return { id, workspace, disk, [Symbol.asyncDispose]: dispose };
  };
  const assembled = await assemble(surroundings, image, options, {
    berthOf,
    refusals: egressLog,
    onPlanned: async (found, plan) => {
      record = await registerContainer(paths, draftOf(id, { name: image, image: found, plan }, options));
    },
  });
  if (record === undefined) throw new FlameBoxError("internal-error", "the container has no record");
  isKept = true;
  await noteEvent(paths, "create", record);
  return { assembled, record };
}
