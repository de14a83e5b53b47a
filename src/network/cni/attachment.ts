/**
 * What a machine has in a network of CNI: a namespace, and in it an interface that plugins have made.
 *
 *     dataDir/cni/cni.PID.TICKS.X/attachment.json      how it was made, so that anybody can undo it
 *     /run/netns/cni.PID.TICKS.X                       the namespace
 *
 * The record is there before anything else is, and goes last. Of a process that was killed, the next command of root's
 * takes away what is left: leases, rules and interfaces are the host's, and outlive everything.
 */
import { mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDir, writeFileAtomic } from "../../util/atomic-file.ts";
import { systemCode } from "../../util/error.ts";
import { tryLock } from "../../util/lock.ts";
import { isAbandoned, ownedName } from "../../util/owned-folder.ts";
import { formatAddress } from "../address.ts";
import { NetworkError } from "../network.ts";
import { attachmentsDir } from "./attachments-dir.ts";
import type { Chain } from "./chain.ts";
import { addAll, INTERFACE, removeAll } from "./chain.ts";
import type { JsonObject } from "./config.ts";
import { isObject, parseConfig } from "./config.ts";
import { dropNamespace, isThere, makeNamespace, netnsPath, restoreAddresses } from "./namespace.ts";
import { findPlugin } from "./plugin.ts";
import type { CniResult } from "./result.ts";
import { parseResult } from "./result.ts";

const PREFIX = "cni";
const RECORD = "attachment.json";
const MAX_RECORD_BYTES = 4 << 20;

export interface AttachRequest extends Chain {
  readonly dataDir: string;
  /** The agent's program. */
  readonly helper: string;
  /** Told of what cannot be taken away. */
  readonly onNotice?: ((notice: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Attachment extends AsyncDisposable {
  /** Path of its namespace. */
  readonly netns: string;
  readonly result: CniResult;
}

interface Made {
  readonly chain: Chain;
  readonly result: CniResult | undefined;
}

/** @throws NetworkError `cni-plugin-missing`, `cni-failed`, `cni-bad-result`, `cni-namespace`; the signal's reason */
export async function attach(request: AttachRequest): Promise<Attachment> {
  const { dataDir, helper, onNotice, signal, ...chain } = request;
  // Nothing is begun that is known not to come to an end.
  for (const { type } of chain.network.plugins) await findPlugin(type, chain.pluginDirs);
  const name = ownedName(PREFIX);
  const dir = join(attachmentsDir(dataDir), name);
  const netns = netnsPath(name);
  const release = async (result: CniResult | undefined): Promise<void> =>
    await take({ dir, netns, helper, onNotice }, { chain, result });
  await makePrivateDir(attachmentsDir(dataDir));
  await mkdir(dir, { mode: 0o700 });
  try {
    await write(dir, chain, undefined);
    await makeNamespace(helper, netns);
    const result = await addAll(chain, netns, signal);
    await write(dir, chain, result.raw);
    let released: Promise<void> | undefined;
    const dispose = async (): Promise<void> => await (released ??= release(result));
    return { netns, result, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await release(undefined);
    throw error;
  }
}

async function write(dir: string, chain: Chain, result: JsonObject | undefined): Promise<void> {
  const { network, ...rest } = chain;
  const { name, cniVersion, plugins } = network;
  const written = { name, cniVersion, plugins: plugins.map(({ config }) => config) };
  await writeFileAtomic(join(dir, RECORD), `${JSON.stringify({ ...rest, network: written, result })}\n`);
}

interface Place {
  readonly dir: string;
  readonly netns: string;
  readonly helper: string;
  readonly onNotice: ((notice: string) => void) | undefined;
}

/** What plugins do not take away stays recorded, with the namespace by which they would know it: somebody tries again. */
async function take({ dir, netns, helper, onNotice }: Place, made: Made | undefined): Promise<void> {
  const failures: NetworkError[] = [];
  if (made !== undefined) {
    const { chain, result } = made;
    const there = await isThere(netns);
    if (there && result !== undefined) {
      const addresses = result.addresses.map(
        ({ address, prefixLength }) => `${formatAddress(address)}/${prefixLength}`,
      );
      // They are looked for there, but what they made may be gone by now, and then so are the addresses.
      await restoreAddresses(helper, netns, addresses).catch(() => {});
    }
    failures.push(...(await removeAll(chain, there ? netns : "", result?.raw)));
  }
  // A chain that did not come to its end has told why; the namespace takes with it what it had made there.
  if (failures.length > 0 && made?.result !== undefined) {
    const why = failures.map(({ message }) => message).join("; ");
    onNotice?.(
      `a container's place in a CNI network is not all taken away, which the next command tries again, until ${dir} is removed: ${why}`,
    );
    return;
  }
  await dropNamespace(helper, netns);
  await rm(dir, { recursive: true, force: true });
}

export interface CollectOptions {
  /** The agent's program; asked for only where there is something to collect. */
  readonly helper: () => Promise<string | undefined>;
  readonly onNotice?: ((notice: string) => void) | undefined;
}

/** Takes away what killed processes left. */
export async function collectAttachments(
  dataDir: string,
  { helper: findHelper, onNotice }: CollectOptions,
): Promise<void> {
  // Only root makes machines in such networks.
  if (process.geteuid?.() !== 0) return;
  const parent = attachmentsDir(dataDir);
  const left = (await readdir(parent).catch(() => [])).filter((name) => isAbandoned(name, PREFIX));
  const helper = left.length === 0 ? undefined : await findHelper();
  if (helper === undefined) return;
  for (const name of left) {
    const lock = await tryLock(join(parent, `.${name}.lock`));
    if (lock === undefined) continue;
    try {
      const dir = join(parent, name);
      await take({ dir, netns: netnsPath(name), helper, onNotice }, await readMade(dir));
    } catch (error) {
      // It stays for the next command, as what has to be done now does not depend on it.
      if (!(error instanceof NetworkError)) throw error;
      onNotice?.(`what a killed container left of a CNI network stays for now: ${error.message}`);
    } finally {
      await lock.release();
    }
  }
}

/** Undefined: nothing had been made, or nobody can say what. */
async function readMade(dir: string): Promise<Made | undefined> {
  try {
    await using file = await open(join(dir, RECORD), "r");
    const { size } = await file.stat();
    if (size > MAX_RECORD_BYTES) return undefined;
    return parseAttachment((await file.readFile()).toString("utf8"));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Undefined: not one that was written here. */
export function parseAttachment(text: string): Made | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value)) return undefined;
    const { network, pluginDirs, containerId, runtimeConfig, args, result } = value;
    if (!Array.isArray(pluginDirs) || !pluginDirs.every((dir): dir is string => typeof dir === "string"))
      return undefined;
    if (typeof containerId !== "string" || typeof args !== "string" || !isObject(runtimeConfig))
      return undefined;
    const chain: Chain = {
      network: parseConfig(JSON.stringify(network), RECORD),
      pluginDirs,
      containerId,
      args,
      runtimeConfig,
    };
    return {
      chain,
      result: result === undefined ? undefined : parseResult(JSON.stringify(result), INTERFACE),
    };
  } catch (error) {
    if (error instanceof NetworkError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
