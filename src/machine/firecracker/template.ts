/**
 * Firecracker's machines, saved and restored, by its own snapshots.
 *
 *     save      boot ─► ready ─► paused ─► full snapshot: all memory, the devices' state ─► holes dug, the VMM ended
 *     restore   a VMM without a machine ─► snapshot loaded, memory mapped privately ─► resumed ─► agent listens on
 *
 * A saved machine names its disks and its vsock socket by relative paths: each VMM has a directory of its own. While it
 * is saved the writable disk there is the template's; after a restore both are empty until files are put behind them.
 */
import { chown, open, rename, rm, stat } from "node:fs/promises";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runCommand } from "../../util/command.ts";
import { messageOf } from "../../util/error.ts";
import type {
  MachineShape,
  RestoreRequest,
  SaveRequest,
  StartOptions,
  TemplateDriver,
  TemplateFiles,
} from "../machine.ts";
import { MachineError, TEMPLATE_MAC } from "../machine.ts";
import type { Place } from "../place.ts";
import { startInstance } from "./api/action.ts";
import { createSnapshot, loadSnapshot } from "./api/snapshot.ts";
import { patchVm } from "./api/vm.ts";
import type { FoundShape } from "./api/vm-config.ts";
import { getShape } from "./api/vm-config.ts";
import { putBase, putCommon, putNetwork, putScratch } from "./configure.ts";
import type { FirecrackerMachine, FirecrackerOptions } from "./vmm.ts";
import { spawnFirecracker } from "./vmm.ts";

/** What configure.ts makes. Another number for another set: old templates do not fit then. */
const DEVICES_VERSION = 1;
/** What a guest still does after it has answered (closing files, freeing its initramfs) is saved with it. */
const SETTLE_MS = 300;
const EXIT_GRACE_MS = 500;
/** The largest file that the usual file systems take; a guest that has seen this size believes in any smaller one. */
const PLACEHOLDER_BYTES = 2 ** 43;
/** Names in the VMM's directory. */
const BASE_NAME = "base";
const SCRATCH_NAME = "scratch";
const MIB = 2 ** 20;
/** The devices' state takes some 30 KiB. */
const MAX_STATE_BYTES = 16 * MIB;

export function firecrackerTemplates(options: FirecrackerOptions): TemplateDriver {
  return {
    identity: async () => await identityOf(options),
    save: async (request, start) => await save(options, request, start),
    restore: async (request, start) => await restore(options, request, start),
  };
}

/** The program by its file; the processor is what this host's processor and kernel make of it. */
async function identityOf({ program, tuning = {} }: FirecrackerOptions): Promise<string> {
  const { size, mtimeMs, ino } = await stat(program);
  const processor = [cpus()[0]?.model ?? "", release()];
  // The rest of it is no part of a machine.
  const { metrics: _metrics, logLevel: _level, ...part } = tuning;
  return JSON.stringify(["firecracker", DEVICES_VERSION, program, size, mtimeMs, ino, ...processor, part]);
}

async function makePlaceholder(place: Place, name: string, sizeBytes: number): Promise<void> {
  const handle = await open(join(place.dir, name), "wx", 0o600);
  try {
    await handle.truncate(sizeBytes);
  } finally {
    await handle.close();
  }
  await place.adopt(name);
}

async function save(
  options: FirecrackerOptions,
  { boot, shape, files, ready }: SaveRequest,
  { signal }: StartOptions = {},
): Promise<void> {
  const mostFileBytes = Math.max(shape.storageBytes, shape.memoryMib * MIB, MAX_STATE_BYTES);
  await using machine = await spawnFirecracker(options, {
    hasNetwork: shape.network,
    mostFileBytes,
    signal,
  });
  const { api, place } = machine;
  await makePlaceholder(place, BASE_NAME, PLACEHOLDER_BYTES);
  await place.give(files.scratchPath, SCRATCH_NAME);
  await putCommon(machine, boot, shape);
  await putBase(machine, BASE_NAME);
  await putScratch(machine, SCRATCH_NAME);
  if (shape.network) await putNetwork(machine, TEMPLATE_MAC);
  await startInstance(api);
  const guest = await ready(machine);
  try {
    await sleep(SETTLE_MS, undefined, { signal });
    await patchVm(api, "Paused");
    await makeOwn(files);
    await createSnapshot(api, {
      snapshot_path: await place.give(files.statePath),
      mem_file_path: await place.give(files.ramPath),
    });
    await machine.kill();
    await takeBack(files);
  } finally {
    await guest[Symbol.asyncDispose]();
  }
  await digHoles(files.ramPath, signal);
  await Promise.all([sync(files.ramPath), sync(files.statePath), sync(files.scratchPath)]);
}

/** The VMM would make them for everybody to read. */
async function makeOwn({ ramPath, statePath }: TemplateFiles): Promise<void> {
  for (const path of [ramPath, statePath]) await (await open(path, "wx", 0o600)).close();
}

/** They are nobody's but this user's again: no machine writes to them any more. */
async function takeBack({ ramPath, statePath, scratchPath }: TemplateFiles): Promise<void> {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  for (const path of [ramPath, statePath, scratchPath]) await chown(path, uid, gid);
}

/** Firecracker writes every page, and most were never touched. */
async function digHoles(path: string, signal: AbortSignal | undefined): Promise<void> {
  const sparse = `${path}.sparse`;
  try {
    await runCommand("cp", ["--sparse=always", "--preserve=mode", "--", path, sparse], { signal });
    await rename(sparse, path);
  } finally {
    await rm(sparse, { force: true });
  }
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function restore(
  options: FirecrackerOptions,
  { shape, files, hostCpus }: RestoreRequest,
  { signal }: StartOptions = {},
): Promise<FirecrackerMachine> {
  const machine = await spawnFirecracker(options, {
    hasNetwork: shape.network,
    hostCpus,
    mostFileBytes: shape.storageBytes,
    signal,
  });
  try {
    const { api, place } = machine;
    await makePlaceholder(place, BASE_NAME, PLACEHOLDER_BYTES);
    await makePlaceholder(place, SCRATCH_NAME, shape.storageBytes);
    await requireMemory(files, shape);
    await loadSnapshot(api, {
      snapshot_path: await place.lend(files.statePath),
      mem_file_path: await place.lend(files.ramPath),
    });
    requireShape(await getShape(api), shape);
    signal?.throwIfAborted();
    await patchVm(api, "Resumed");
    return machine;
  } catch (error) {
    // A VMM that ended has said why.
    await Promise.race([machine.exited, sleep(EXIT_GRACE_MS, undefined, { ref: false })]);
    const said = machine.diagnostics().stderr.trim().slice(-2_000);
    await machine.kill();
    signal?.throwIfAborted();
    const why = [messageOf(error), said].filter((text) => text !== "").join("\n  ");
    throw new MachineError("template-failed", `the template could not be restored: ${why}`, { cause: error });
  }
}

/** Firecracker maps what it is given: a file that is too short would be found out by the guest, much later. */
async function requireMemory({ ramPath }: TemplateFiles, { memoryMib }: MachineShape): Promise<void> {
  const { size } = await stat(ramPath);
  if (size === memoryMib * MIB) return;
  throw new MachineError(
    "template-failed",
    `its memory has ${size} bytes, and the machine is to have ${memoryMib} MiB`,
  );
}

/** A snapshot has its machine's shape in it, whatever shape was asked for. */
function requireShape(found: FoundShape, wanted: FoundShape): void {
  const text = ({ cpus: count, memoryMib, network }: FoundShape) =>
    `${count} CPUs, ${memoryMib} MiB, ${network ? "a" : "no"} network interface`;
  if (text(found) === text(wanted)) return;
  throw new MachineError("template-failed", `it is a machine with ${text(found)}, not ${text(wanted)}`);
}
