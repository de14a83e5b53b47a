/**
 * Containers that wait: for servers whose requests cannot.
 *
 *     createPool ─► size × (machine restored, image opened, container made) ─► start(), take() execute in one
 *                             ▲                                                   │
 *                             └────────────── another takes its place ────────────┘
 *
 * Without an image only machines wait, and a container is made in one when it is asked for.
 */
import { rehearse } from "../agent/client.ts";
import type { Process } from "../runtime-spec/config.ts";
import { unlessAborted } from "../util/abort.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError } from "../util/error.ts";
import { limit } from "../util/limit.ts";
import { locatePaths } from "../util/paths.ts";
import { assemble } from "./assemble.ts";
import type { Assembled } from "./assemble.ts";
import { boxOf } from "./flamebox.ts";
import type { FlameBox, FlameBoxOptions } from "./flamebox.ts";
import { prepareHost } from "./host.ts";
import { IDLE_PATH } from "./idle-program.ts";
import type { ContainerOptions, RunningContainer } from "./options.ts";
import { planMachine } from "./plan.ts";
import type { Surroundings } from "./prepare.ts";
import type { Container } from "./running.ts";
import { storageSize } from "./scratch.ts";
import { begin, startOn } from "./start.ts";
import { stopPlanOf } from "./stop.ts";
import { restoreMachine } from "./template.ts";
import type { ReadyMachine } from "./template.ts";

/** All that a container's options are, for all containers of the pool. */
export interface PoolOptions extends ContainerOptions {
  /** How many wait: 1 to 1000. */
  readonly size: number;
  /** Of all containers; without it, each start names one. */
  readonly image?: string | undefined;
}

export interface PoolStartOptions extends Pick<ContainerOptions, "command" | "signal"> {
  /** Beside the pool's, and in the place of those with the same name. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Of a pool without one. */
  readonly image?: string | undefined;
}

export interface PoolTakeOptions extends PoolStartOptions, Pick<FlameBoxOptions, "maxLogBytes"> {}

/** Dispose it: its machines run until then. */
export interface Pool extends AsyncDisposable {
  readonly size: number;
  /** How many are ready now. */
  readonly ready: number;
  /**
   * A container of the pool, whose process has been executed. It is the caller's from here on, and another takes its
   * place. When none is ready, the next one is waited for.
   * @throws FlameBoxError as `start`; `pool-closed`; `invalid-option` for a command where the pool's options fix it
   */
  start(options?: PoolStartOptions): Promise<RunningContainer>;
  /**
   * As `start`, as a box: for commands, files and what else a `FlameBox` has. Without a command, neither here nor in the
   * pool's options, its first process does nothing.
   *
   *     await using box = await pool.take();
   *     const { stdout } = await box.exec("uname -r");
   *
   * @throws FlameBoxError as `start`
   */
  take(options?: PoolTakeOptions): Promise<FlameBox>;
}

const MAX_SIZE = 1_000;
/** Made at once: more would only be slower, each of them. */
const MAKERS = 2;
/** What is done the first time is slow, and the second time what the first has left. */
const REHEARSALS = 2;
/** A machine that was lost while it waited is passed over; a host where all are lost has another problem. */
const MAX_LOST = 16;

/**
 * Returns when all are ready.
 * @throws FlameBoxError as `start`
 */
export async function createPool(options: PoolOptions): Promise<Pool> {
  return await createPoolOn({ prepareHost }, options);
}

/** As `createPool`, on surroundings of the caller's choice. */
export async function createPoolOn(surroundings: Surroundings, options: PoolOptions): Promise<Pool> {
  const { size, image } = options;
  if (!Number.isSafeInteger(size) || size < 1 || size > MAX_SIZE)
    throw new FlameBoxError("invalid-option", `a pool has 1 to ${MAX_SIZE} containers, not ${size}`);
  const pool =
    image === undefined
      ? new MachinePool(surroundings, options)
      : new ContainerPool(surroundings, image, options);
  try {
    await pool.fill();
    return pool;
  } catch (error) {
    await pool[Symbol.asyncDispose]();
    throw error;
  }
}

interface Spare extends AsyncDisposable {
  /** Resolves when its machine has ended. */
  readonly lost: Promise<unknown>;
}

abstract class SparePool<T extends Spare> implements Pool {
  readonly size: number;
  readonly #closing = new AbortController();
  readonly #limited = limit(MAKERS);
  readonly #spares: Promise<T>[] = [];
  readonly #ready = new Set<T>();

  constructor(size: number) {
    this.size = size;
  }

  get ready(): number {
    return this.#ready.size;
  }

  /** @param mayIdle without a command, the first process does nothing */
  protected abstract begin(options: PoolStartOptions, mayIdle: boolean): Promise<Container>;
  protected abstract make(signal: AbortSignal): Promise<T>;

  async start(options: PoolStartOptions = {}): Promise<RunningContainer> {
    return await this.begin(options, false);
  }

  async take({ maxLogBytes, ...options }: PoolTakeOptions = {}): Promise<FlameBox> {
    return boxOf(await this.begin(options, true), maxLogBytes);
  }

  async fill(): Promise<void> {
    while (this.#spares.length < this.size) this.#addSpare();
    await Promise.all(this.#spares);
  }

  #addSpare(): void {
    const { signal } = this.#closing;
    const spare = this.#limited(async () => {
      signal.throwIfAborted();
      return await this.make(signal);
    });
    this.#spares.push(spare);
    // What goes wrong is told to whoever takes it.
    this.#watch(spare).catch(() => {});
  }

  async #watch(spare: Promise<T>): Promise<void> {
    const made = await spare;
    this.#ready.add(made);
    await made.lost;
    if (this.#ready.delete(made)) await made[Symbol.asyncDispose]();
  }

  /** One that lives; it is the caller's. */
  protected async next(signal: AbortSignal | undefined): Promise<T> {
    for (let lost = 0; ; lost++) {
      if (this.#closing.signal.aborted) throw new FlameBoxError("pool-closed", "the pool has been closed");
      signal?.throwIfAborted();
      const spare = this.#spares.shift();
      this.#addSpare();
      if (spare === undefined) continue;
      const made = await untilAborted(spare, signal, (unused) => this.#spares.unshift(unused));
      if (this.#ready.delete(made)) return made;
      if (lost >= MAX_LOST)
        throw new FlameBoxError("machine-lost", `${lost} machines of the pool were lost while they waited`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new FlameBoxError("pool-closed", "the pool has been closed"));
    await using cleanup = new CleanupStack();
    for (const result of await Promise.allSettled(this.#spares.splice(0))) {
      if (result.status === "fulfilled" && this.#ready.delete(result.value)) cleanup.use(result.value);
    }
  }
}

/** Somebody who waits no longer gives back what he waited for. */
async function untilAborted<T>(
  wanted: Promise<T>,
  signal: AbortSignal | undefined,
  giveBack: (wanted: Promise<T>) => void,
): Promise<T> {
  try {
    return await unlessAborted(wanted, signal);
  } catch (error) {
    if (signal?.aborted === true) giveBack(wanted);
    throw error;
  }
}

interface SpareContainer extends Spare {
  readonly assembled: Assembled;
}

class ContainerPool extends SparePool<SpareContainer> {
  readonly #surroundings: Surroundings;
  readonly #image: string;
  readonly #options: ContainerOptions;

  constructor(surroundings: Surroundings, image: string, options: PoolOptions) {
    super(options.size);
    this.#surroundings = surroundings;
    this.#image = image;
    this.#options = options;
  }

  protected async make(signal: AbortSignal): Promise<SpareContainer> {
    const options = { ...this.#options, signal };
    const mayIdle = !hasProcess(this.#options);
    const assembled = await assemble(this.#surroundings, this.#image, options, { mayIdle });
    const dispose = async () => await assembled.owned[Symbol.asyncDispose]();
    try {
      for (let times = 0; times < REHEARSALS; times++) await rehearse(assembled.booted.session, { signal });
    } catch (error) {
      await dispose();
      throw error;
    }
    return { assembled, lost: assembled.booted.machine.exited, [Symbol.asyncDispose]: dispose };
  }

  protected async begin(options: PoolStartOptions, mayIdle: boolean): Promise<Container> {
    const { command = [], env = {}, signal, image } = options;
    if (image !== undefined)
      throw new FlameBoxError("invalid-option", "the pool's image is that of all its containers");
    const isIdle = mayIdle && command.length === 0 && !hasProcess(this.#options);
    const args = isIdle ? [IDLE_PATH] : command;
    const changes = { args, env: Object.entries(env).map(([name, value]) => `${name}=${value}`) };
    const isChanged = changes.args.length > 0 || changes.env.length > 0;
    const { assembled } = await this.next(signal);
    if (isChanged && !assembled.isChangeable) {
      await assembled.owned[Symbol.asyncDispose]();
      throw new FlameBoxError("invalid-option", "with the pool's options its containers' command is fixed", {
        hint: "give command (or idle) and env to createPool, or leave out terminals, volumes, init and capabilities",
      });
    }
    const { onNotice } = this.#options;
    const stop = isIdle ? stopPlanOf({}, { ...this.#options, idle: true }) : assembled.facts.stop;
    const probe = { ...assembled.facts.probe, process: overridden(assembled.facts.probe.process, changes) };
    const changed = { ...assembled, facts: { ...assembled.facts, stop, probe } };
    return await begin(this.#surroundings, changed, { signal, onNotice }, isChanged ? changes : undefined);
  }
}

/** Whether the options say what its first process is. */
function hasProcess({ command, entrypoint, idle }: ContainerOptions): boolean {
  return command !== undefined || entrypoint !== undefined || idle === true;
}

/** What others that are executed in it begin with. */
function overridden(
  own: Process,
  { args, env }: { args: readonly string[]; env: readonly string[] },
): Process {
  const names = new Set(env.map((variable) => variable.split("=", 1)[0]));
  const kept = own.env.filter((variable) => !names.has(variable.split("=", 1)[0]));
  return { ...own, args: args.length > 0 ? args : own.args, env: [...kept, ...env] };
}

interface SpareMachine extends Spare {
  readonly ready: ReadyMachine | undefined;
}

class MachinePool extends SparePool<SpareMachine> {
  readonly #surroundings: Surroundings;
  readonly #options: ContainerOptions;

  constructor(surroundings: Surroundings, options: PoolOptions) {
    super(options.size);
    this.#surroundings = surroundings;
    this.#options = options;
  }

  protected async make(signal: AbortSignal): Promise<SpareMachine> {
    const options = { ...this.#options, signal };
    const paths = options.paths ?? locatePaths();
    const { size, hostCpus } = await planMachine(options);
    const host = await this.#surroundings.prepareHost(paths, options);
    const storageBytes = storageSize(options.storageBytes);
    const network = options.network !== "none";
    const { vcpus: cpus, memoryMib } = size;
    const shape = { cpus, memoryMib, network, storageBytes, disk: "passing" } as const;
    const ready = await restoreMachine({ ...options, paths, host, shape, hostCpus });
    const lost = ready?.machine.exited ?? new Promise(() => {});
    return { ready, lost, [Symbol.asyncDispose]: async () => await ready?.[Symbol.asyncDispose]() };
  }

  protected async begin(options: PoolStartOptions, mayIdle: boolean): Promise<Container> {
    const { command, env = {}, signal, image } = options;
    if (image === undefined)
      throw new FlameBoxError("invalid-option", "the pool has no image, so that each start names one");
    const { ready } = await this.next(signal);
    const isIdle = mayIdle && command === undefined && !hasProcess(this.#options);
    const first = command === undefined ? { ...(isIdle && { idle: true }) } : { command, idle: false };
    const changes = { ...first, env: { ...this.#options.env, ...env }, signal };
    try {
      return await startOn({ ...this.#surroundings, ready }, image, { ...this.#options, ...changes });
    } catch (error) {
      await ready?.[Symbol.asyncDispose]();
      throw error;
    }
  }
}
