/**
 * The contents of a container that is here. One that runs is asked by way of its control socket; for one that does not,
 * its machine is started without its process, for as long as it is looked at.
 */
import type { Paths } from "../../util/paths.ts";
import { assemble } from "../assemble.ts";
import type { ContainerContents, ContainerProcess } from "../contents.ts";
import { OwnContents } from "../contents.ts";
import { prepareHost } from "../host.ts";
import type { OperationOptions } from "../options.ts";
import { removeOwner } from "../workspace.ts";
import { diskRecord, keptBerth } from "./berth.ts";
import { claimContainer, isOwned } from "./heal.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir } from "./record.ts";
import { RemoteContents } from "./remote-contents.ts";
import { readState, writeState } from "./state.ts";
import { find } from "./verbs.ts";

/**
 * Does `job` with what is in the container, whether it runs or not.
 * @throws FlameBoxError `container-not-found`, as `start`
 */
export async function withContents<T>(
  name: string,
  options: OperationOptions,
  job: (contents: ContainerContents, record: ContainerRecord) => Promise<T>,
): Promise<T> {
  const { paths, record } = await find(name, options);
  if (await isOwned(paths, record.id)) return await job(new RemoteContents(paths, record), record);
  await claimContainer(paths, record);
  try {
    return await inOwnMachine(paths, record, options, job);
  } finally {
    await removeOwner(containerDir(paths, record.id));
  }
}

async function inOwnMachine<T>(
  paths: Paths,
  record: ContainerRecord,
  options: OperationOptions,
  job: (contents: ContainerContents, record: ContainerRecord) => Promise<T>,
): Promise<T> {
  const state = await readState(paths, record.id);
  // Its ports may be another's by now, and nobody is to be reached.
  const unheard = {
    network: "none",
    publish: undefined,
    publishAll: undefined,
    macAddress: undefined,
    networkAliases: undefined,
    ipAddress: undefined,
    egress: undefined,
    addHosts: undefined,
    healthcheck: undefined,
  } as const;
  const quiet = { ...record.options, ...unheard, ...options, paths };
  const placing = { berthOf: async () => await keptBerth(paths, record, state.disk) };
  const assembled = await assemble({ prepareHost }, record.imageName, quiet, placing);
  const { session, machine } = assembled.booted;
  try {
    await writeState(containerDir(paths, record.id), { ...state, disk: diskRecord(assembled.disk) });
    return await job(new OwnContents(session, record.id), record);
  } finally {
    await session.request("system.shutdown", {}).catch(() => {});
    await Promise.race([machine.exited, new Promise((resolve) => setTimeout(resolve, 10_000).unref())]);
    await assembled.owned[Symbol.asyncDispose]();
  }
}

/** @throws FlameBoxError `container-not-running` */
export async function containerProcessList(
  name: string,
  options: OperationOptions = {},
): Promise<readonly ContainerProcess[]> {
  const { paths, record } = await find(name, options);
  return await new RemoteContents(paths, record).processes({ signal: options.signal });
}
