/** A container that runs: assembled, and its process executed. */
import { setTime, startContainer } from "../agent/client.ts";
import type { Override } from "../agent/client.ts";
import type { Assembled } from "./assemble.ts";
import { assemble, withConsole } from "./assemble.ts";
import { prepareHost } from "./host.ts";
import type { ContainerOptions, RunningContainer } from "./options.ts";
import type { Surroundings } from "./prepare.ts";
import { Container } from "./running.ts";
import { keepVigil } from "./vigil.ts";

/**
 * Starts a container of `image` and returns when its process has been executed.
 * @throws FlameBoxError; its `code` says which of everything that can be wrong is. `command-not-found` and
 *   `command-not-executable` mean that the image does not have the command.
 */
export async function start(image: string, options: ContainerOptions = {}): Promise<RunningContainer> {
  return await startContainerOf(image, options);
}

/** As `start`; with all that a container can be asked in this process. */
export async function startContainerOf(image: string, options: ContainerOptions): Promise<Container> {
  const surroundings = { prepareHost };
  return await begin(surroundings, await assemble(surroundings, image, options), options);
}

/** As `start`, on surroundings of the caller's choice: a machine that is played by a test. */
export async function startOn(
  surroundings: Surroundings,
  image: string,
  options: ContainerOptions,
): Promise<Container> {
  return await begin(surroundings, await assemble(surroundings, image, options), options);
}

/** Executes the process; another than was assembled with `override`. What is assembled is gone if that fails. */
export async function begin(
  surroundings: Surroundings,
  { booted, facts, streams, exit, owned }: Assembled,
  { signal, onNotice }: Pick<ContainerOptions, "signal" | "onNotice">,
  override?: Override,
): Promise<Container> {
  await using cleanup = owned.move();
  const call = signal === undefined ? {} : { signal };
  try {
    // The clock first: the requests are carried out in their order.
    await Promise.all([
      setTime(booted.session, call),
      startContainer(booted.session, facts.id, { ...call, override }),
    ]);
  } catch (error) {
    signal?.throwIfAborted();
    throw withConsole(error, booted);
  }
  const vigil = keepVigil(booted, exit, surroundings.heartbeat);
  // The container goes on without its network; somebody should know why.
  void booted.network?.failed.then((error) => onNotice?.(error.message));
  return new Container(facts, booted, { ...streams, exit, vigil }, cleanup.move());
}
