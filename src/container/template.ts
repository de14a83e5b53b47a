/**
 * A machine out of a template: restored, and its agent greeted, before anything is known of the container but how
 * large its machine is.
 *
 *     key ─► template, made at first use ─► restore ─► agent answers ┄┄► disks, network ─► BootedMachine
 *
 * Whatever goes wrong with templates costs time and never the container: it is told, the template is dropped,
 * and the machine boots.
 */
import { link } from "node:fs/promises";
import { configure, prepareContainer } from "../agent/client.ts";
import type { AgentSession } from "../agent/session/session.ts";
import type { Hello } from "../agent/protocol/messages.ts";
import type {
  MachineConfig,
  MachineShape,
  RestoredMachine,
  SaveRequest,
  TemplateDriver,
} from "../machine/machine.ts";
import { MachineError } from "../machine/machine.ts";
import type { Template } from "../machine/template/store.ts";
import { ensureTemplate, removeTemplate, templateKey } from "../machine/template/store.ts";
import type { Network } from "../network/network.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError, messageOf } from "../util/error.ts";
import type { Paths } from "../util/paths.ts";
import { silent } from "../util/progress.ts";
import type { BootedMachine, GreetOptions } from "./boot.ts";
import { attachmentOf, greet, ownedBy } from "./boot.ts";
import type { Host } from "./host.ts";
import type { OperationOptions } from "./options.ts";
import { preparationFor, usualConfiguration } from "./preparation.ts";
import { makeScratchDisk } from "./scratch.ts";

export interface TemplateRequest extends Pick<OperationOptions, "signal" | "onProgress" | "onNotice"> {
  readonly paths: Paths;
  readonly host: Host;
  readonly shape: MachineShape;
  readonly hostCpus?: readonly number[] | undefined;
  /** Where the template's writable disk gets another name, so that it stays when the template is removed. */
  readonly scratchLink?: string | undefined;
  readonly deadlineMs?: number | undefined;
  readonly patience?: number | undefined;
}

/** A machine that runs, and waits to be told what for. */
export interface ReadyMachine extends AsyncDisposable {
  readonly machine: RestoredMachine;
  /** The writable disk that its guest knows, raw; what is put behind its own has to be a copy. */
  readonly scratchPath: string;
  readonly session: AgentSession;
  readonly hello: Hello;
}

/** Undefined where it cannot be had this way. @throws the signal's reason */
export async function restoreMachine(request: TemplateRequest): Promise<ReadyMachine | undefined> {
  const { host, signal } = request;
  const { templates } = host.driver;
  if (templates === undefined) return undefined;
  let template: Template | undefined;
  try {
    template = await provideTemplate(templates, request);
    return await restore(templates, template, request);
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof FlameBoxError)) throw error;
    const why = error.message.split("\n")[0] ?? "";
    if (template !== undefined) await removeTemplate(request.paths, template.key);
    request.onNotice?.(
      `the machine is booted, which takes longer, because no template could be used: ${why}`,
    );
    return undefined;
  }
}

/** @throws MachineError; the signal's reason */
export async function provideTemplate(
  templates: TemplateDriver,
  request: TemplateRequest,
): Promise<Template> {
  const { paths, host, shape, signal, onNotice, onProgress = silent } = request;
  const report = (state: "running" | "done" | "failed") =>
    onProgress({ id: "template", label: "preparing a machine, once for all containers of its size", state });
  const preparation = preparationFor(shape, host);
  const key = await templateKey(await templates.identity(), host.boot, shape, preparation);
  return await ensureTemplate(paths, key, {
    shape,
    description: `${host.driver.name}, ${host.kvm.usable ? "kvm" : "software emulation"}, Linux ${host.kernel.release}`,
    signal,
    onWait: () => onNotice?.("another process is preparing a machine of this size; waiting for it"),
    save: async (files) => {
      report("running");
      try {
        const journal = shape.disk !== "passing";
        await makeScratchDisk(paths, files.scratchPath, { sizeBytes: shape.storageBytes, journal, signal });
        const ready: SaveRequest["ready"] = async (machine) => {
          const { session } = await greet(machine, greeting(request));
          const call = signal === undefined ? {} : { signal };
          await configure(session, usualConfiguration(shape), call);
          if (preparation !== undefined) await prepareContainer(session, preparation, call);
          return session;
        };
        await templates.save({ boot: host.boot, shape, files, ready }, { signal });
        report("done");
      } catch (error) {
        report("failed");
        throw error;
      }
    },
  });
}

function greeting({ host, signal, deadlineMs, patience }: TemplateRequest): GreetOptions {
  return { emulated: !host.kvm.usable, signal, deadlineMs, patience };
}

async function restore(
  templates: TemplateDriver,
  { files, shape }: Template,
  request: TemplateRequest,
): Promise<ReadyMachine> {
  const { hostCpus, scratchLink, signal } = request;
  await using cleanup = new CleanupStack();
  const scratchPath = scratchLink ?? files.scratchPath;
  if (scratchLink !== undefined) await linkDisk(files.scratchPath, scratchLink);
  const machine = cleanup.use(await templates.restore({ files, shape, hostCpus }, { signal }));
  const { session, hello } = await greet(machine, greeting(request));
  cleanup.use(session);
  const owned = cleanup.move();
  const dispose = async () => await owned[Symbol.asyncDispose]();
  return { machine, scratchPath, session, hello, [Symbol.asyncDispose]: dispose };
}

/** @throws MachineError `template-failed` */
async function linkDisk(existing: string, path: string): Promise<void> {
  try {
    await link(existing, path);
  } catch (error) {
    throw new MachineError("template-failed", `its disk cannot be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

export interface Connection {
  readonly disks: MachineConfig["disks"];
  readonly startNetwork: (() => Promise<Network>) | undefined;
  /** Tells the guest who it is: what it was restored as, many others were. */
  readonly configureGuest: (session: AgentSession, network: Network | undefined) => Promise<void>;
}

/** Gives the machine its disks and its network, and lets the guest know meanwhile who it is. The result owns it. */
export async function connectMachine(
  ready: ReadyMachine,
  { disks, startNetwork, configureGuest }: Connection,
): Promise<BootedMachine> {
  await using cleanup = new CleanupStack();
  cleanup.use(ready);
  const { machine, session, hello } = ready;
  const connected = async (): Promise<Network | undefined> => {
    const network = await startNetwork?.().then((started) => cleanup.use(started));
    if (network !== undefined) machine.attachNetwork(attachmentOf(network));
    await configureGuest(session, network);
    return network;
  };
  const [network, attached] = await Promise.allSettled([connected(), machine.attachDisks(disks)]);
  if (network.status === "rejected") throw network.reason;
  if (attached.status === "rejected") throw attached.reason;
  return ownedBy(cleanup.move(), { machine, session, hello, network: network.value, retries: 0 });
}
