/**
 * QEMU's machines, saved and restored.
 *
 *     save      boot ─► ready ─► migrate, memory left in its file ─► state, by a socket ─► the VMM is ended
 *     restore   -incoming defer, memory file mapped privately ─► state from an inherited descriptor ─► runs
 *
 * Saving shares the memory file with the VMM and tells the migration to leave shared memory out
 * (`x-ignore-shared`): so the file is the memory. A restored machine maps the same file copy-on-write, and only
 * the devices' state, half a megabyte, is read.
 */
import { createWriteStream } from "node:fs";
import { open, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { cpus, release } from "node:os";
import { dirname } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { looseObject, optional, safeParse, string } from "valibot";
import type { RestoreRequest, SaveRequest, StartOptions, TemplateDriver } from "../machine.ts";
import { MachineError } from "../machine.ts";
import { messageOf } from "../../util/error.ts";
import { PROCESSORS, STATE_FD, restoringArguments, savingArguments } from "./arguments.ts";
import type { QemuMachine, QemuOptions } from "./vmm.ts";
import { findQemu, spawnQemu } from "./vmm.ts";

/** The devices that the arguments make, and what the kernel was told. Another number for another set: old templates do not fit then. */
const DEVICES_VERSION = 3;
/** What a guest still does after it has answered (closing files, freeing its initramfs) is saved with it. */
const SETTLE_MS = 300;
const SAVE_DEADLINE_MS = 60_000;
const POLL_MS = 20;
const EXIT_GRACE_MS = 1_000;
/** Half a megabyte is usual; more than this is no state of these devices. */
const MAX_STATE_BYTES = 64 * 2 ** 20;
const SOCKET = "state.sock";

const IGNORE_SHARED = { capabilities: [{ capability: "x-ignore-shared", state: true }] };

export function qemuTemplates(options: QemuOptions): TemplateDriver {
  return {
    identity: async () => await identityOf(options),
    save: async (request, start) => await save(options, request, start),
    restore: async (request, start) => await restore(options, request, start),
  };
}

/** The program by its file, because asking it for its version takes as long as a restore. */
async function identityOf({ acceleration, program: given }: QemuOptions): Promise<string> {
  const program = given ?? (await findQemu());
  const { size, mtimeMs, ino } = await stat(program);
  // `-cpu host` is what this host's processor and kernel make of it.
  const own = acceleration === "kvm" ? [cpus()[0]?.model ?? "", release()] : [];
  const processor = [PROCESSORS[acceleration], ...own];
  return JSON.stringify(["qemu", DEVICES_VERSION, acceleration, program, size, mtimeMs, ino, ...processor]);
}

async function save(
  options: QemuOptions,
  { boot, shape, files, ready }: SaveRequest,
  { signal }: StartOptions = {},
): Promise<void> {
  // The VMM makes the file if it is not there, for everybody to read.
  await (await open(files.ramPath, "wx", 0o600)).close();
  // A socket's path may have 107 bytes, and a home directory more; by way of a descriptor it is short for both.
  const dir = await open(dirname(files.statePath), "r");
  try {
    const args = savingArguments(boot, shape, files, options.acceleration);
    await using machine = await spawnQemu(options, args, {
      hasNetwork: shape.network,
      // Nothing leads out of a jail.
      stateFd: options.jail === undefined ? dir.fd : undefined,
      mostFileBytes: Math.max(shape.storageBytes, shape.memoryMib * 2 ** 20),
      signal,
    });
    // Where both of them reach it.
    const [ours, theirs] =
      machine.jail === undefined
        ? [`/proc/self/fd/${dir.fd}/${SOCKET}`, `/proc/self/fd/${STATE_FD}/${SOCKET}`]
        : [machine.jail.reach(SOCKET), `/${SOCKET}`];
    const guest = await ready(machine);
    try {
      await sleep(SETTLE_MS, undefined, { signal });
      await using state = await receiveState(ours, files.statePath);
      await machine.jail?.adopt(SOCKET);
      await machine.execute("migrate-set-capabilities", IGNORE_SHARED);
      await machine.execute("migrate", { uri: `unix:${theirs}` });
      await migrated(machine, signal);
      await state.received;
      await machine.kill();
    } finally {
      await guest[Symbol.asyncDispose]();
    }
  } finally {
    await dir.close();
  }
  const ram = await open(files.ramPath, "r+");
  try {
    await ram.sync();
  } finally {
    await ram.close();
  }
}

/** Takes one connection and writes what comes to the file, which is synced when `received` resolves. */
async function receiveState(
  socketPath: string,
  statePath: string,
): Promise<AsyncDisposable & { readonly received: Promise<void> }> {
  const server = createServer({ pauseOnConnect: true });
  const received = new Promise<void>((resolve, reject) => {
    server.once("connection", (socket) => {
      let sizeBytes = 0;
      const bounded = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          sizeBytes += chunk.length;
          const tooLarge = sizeBytes > MAX_STATE_BYTES;
          done(
            tooLarge ? new MachineError("template-failed", "the machine's state has no end") : null,
            chunk,
          );
        },
      });
      const file = createWriteStream(statePath, { flags: "wx", mode: 0o600, flush: true });
      pipeline(socket, bounded, file).then(resolve, reject);
      socket.resume();
    });
  });
  received.catch(() => {});
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(socketPath, resolve);
  });
  return {
    received,
    [Symbol.asyncDispose]: async () => {
      await new Promise((resolve) => server.close(resolve));
      await rm(socketPath, { force: true });
    },
  };
}

const progress = looseObject({ status: string(), "error-desc": optional(string()) });

/** @throws MachineError `template-failed` */
async function migrated(machine: QemuMachine, signal: AbortSignal | undefined): Promise<void> {
  const deadline = performance.now() + SAVE_DEADLINE_MS;
  for (;;) {
    const answer = safeParse(progress, await machine.execute("query-migrate"));
    const { status = "nothing", "error-desc": why = "" } = answer.success ? answer.output : {};
    if (status === "completed") return;
    if (status === "failed" || status === "cancelled" || performance.now() > deadline) {
      throw new MachineError("template-failed", `the machine could not be saved: ${status} ${why}`.trimEnd());
    }
    await sleep(POLL_MS, undefined, { signal });
  }
}

async function restore(
  options: QemuOptions,
  { shape, files, hostCpus }: RestoreRequest,
  { signal }: StartOptions = {},
): Promise<QemuMachine> {
  const state = await open(files.statePath, "r");
  try {
    const args = restoringArguments(shape, files, options.acceleration);
    const machine = await spawnQemu(options, args, {
      hasNetwork: shape.network,
      stateFd: state.fd,
      hostCpus,
      mostFileBytes: shape.storageBytes,
      signal,
    });
    // Not waited for: whoever wants the machine waits for its guest, which answers only when this has been done.
    Promise.all([
      machine.execute("migrate-set-capabilities", IGNORE_SHARED),
      machine.execute("migrate-incoming", { uri: `fd:${STATE_FD}` }),
    ]).catch(async (error: unknown) => {
      // A VMM that ended has said why, a moment after its monitor closed.
      await Promise.race([machine.exited, sleep(EXIT_GRACE_MS, undefined, { ref: false })]);
      machine.note(`the template could not be restored: ${messageOf(error)}`);
      await machine.kill();
    });
    return machine;
  } finally {
    await state.close();
  }
}
