/**
 * A box of a container that lives by itself: kept by a process of its own, or by another program's.
 *
 *     FlameBox.connect ─► its record and state ─► calls over its control socket; its output from its log
 *     close            ─► the calls' connections; the container goes on
 */
import { FlameBox } from "./flamebox.ts";
import type { ListFlameBoxesOptions, DetachedFlameBoxOptions, ListedFlameBox } from "./flamebox.ts";
import { create } from "./lifecycle/create.ts";
import type { ContainerDetails } from "./lifecycle/info.ts";
import { RemoteContainer } from "./lifecycle/remote.ts";
import * as verbs from "./lifecycle/verbs.ts";
import type { EndOptions, RemoveOptions } from "./lifecycle/verbs.ts";
import type { OperationOptions } from "./options.ts";

/**
 * A container that another process runs, as an object: what `FlameBox.connect`, `createDetached` and `list` give.
 * It has all that a `FlameBox` has, and goes on when it is closed or disposed of. `machine`, `ports` and `health` are
 * those of when it was connected to, started or inspected last. `logs` and `output` come from its log, which is
 * rotated. Of one that does not run, commands and files reject with `container-not-running`.
 */
export class ConnectedFlameBox extends FlameBox {
  readonly #container: RemoteContainer;
  readonly #options: OperationOptions;

  /** @internal */
  constructor(container: RemoteContainer, options: OperationOptions) {
    super(container, container.output);
    this.#container = container;
    this.#options = options;
  }

  /** All that there is to know of it. @throws FlameBoxError `container-not-found` */
  async inspect({ signal }: Pick<OperationOptions, "signal"> = {}): Promise<ContainerDetails> {
    return await this.#container.inspect(signal);
  }

  /** Starts it if it does not run, in a process of its own. @throws FlameBoxError as `start` */
  async start(options: Pick<OperationOptions, "signal"> = {}): Promise<void> {
    await verbs.startContainer(this.id, { ...this.#options, ...options });
    await this.#container.inspect(options.signal);
  }

  /** Stops it if it runs, and starts it. @throws FlameBoxError as `start` */
  async restart(options: Pick<EndOptions, "signal" | "stopSignal" | "timeoutMs"> = {}): Promise<void> {
    await verbs.restartContainer(this.id, { ...this.#options, ...options });
    await this.#container.inspect(options.signal);
  }

  /**
   * Removes it, with its disk, its volumes and its log.
   * @throws FlameBoxError `container-running` unless `force`
   */
  async remove(options: Pick<RemoveOptions, "force" | "signal"> = {}): Promise<void> {
    await verbs.removeContainer(this.id, { ...this.#options, ...options });
  }
}

/** What later calls are given, too: not the signal, which is of this one. */
function lasting({ signal: _signal, ...options }: OperationOptions): OperationOptions {
  const { paths, onNotice, onProgress, firecracker, jailer } = options;
  return { paths, onNotice, onProgress, firecracker, jailer };
}

/** As `FlameBox.connect`. */
export async function connect(nameOrId: string, options: OperationOptions): Promise<ConnectedFlameBox> {
  return new ConnectedFlameBox(await RemoteContainer.find(nameOrId, options), lasting(options));
}

/** As `FlameBox.list`. */
export async function list(options: ListFlameBoxesOptions): Promise<ListedFlameBox[]> {
  return (await verbs.listContainers(options)).map((info) => ({
    ...info,
    connect: async ({ signal } = {}) => await connect(info.id, { ...lasting(options), signal }),
  }));
}

/** As `FlameBox.createDetached`. */
export async function createDetached(
  image: string,
  options: DetachedFlameBoxOptions,
): Promise<ConnectedFlameBox> {
  const { id } = await create(image, options);
  try {
    await verbs.startContainer(id, options);
    return await connect(id, options);
  } catch (error) {
    const { paths } = options;
    // One that has ended already, and was to go then, is what cannot be connected to.
    await verbs.removeContainer(id, { paths, force: true }).catch(() => {});
    throw error;
  }
}
