/**
 * A machine with an image in it, for tests that give the guest config.json as they like: no command line and no
 * defaults of FlameBox's in between.
 */
import type { Readable } from "node:stream";
import { AgentError } from "../../src/agent/protocol/messages.ts";
import type { AgentSession } from "../../src/agent/session/session.ts";
import { acquireImage } from "../../src/container/acquire.ts";
import { bootMachine } from "../../src/container/boot.ts";
import { openHome } from "../../src/container/home.ts";
import { requireAgent } from "../../src/container/host.ts";
import { openRootfs } from "../../src/images/rootfs.ts";
import { findKernel, prepareBoot } from "../../src/machine/kernel/kernel.ts";
import { BASE_SERIAL } from "../../src/machine/qemu/arguments.ts";
import { qemuDriver } from "../../src/machine/qemu/qemu.ts";
import { CleanupStack } from "../../src/util/cleanup.ts";
import { makeHome } from "./home.ts";

const DEADLINE_MS = 120_000;
const WRITABLE_BYTES = 16 << 20;

/** How a container ended, or what the guest said against it. */
export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode?: number | undefined;
  readonly signal?: number | undefined;
  readonly warnings: readonly string[];
  /** `invalid-config: linux.seccomp…` */
  readonly error?: string | undefined;
}

export interface RawMachine extends AsyncDisposable {
  readonly session: AgentSession;
  /** Makes a container, runs it to its end, deletes it. Each runs alone, as on a thread of its own. */
  run(config: object, user?: string): Promise<Outcome>;
  /** What the guest wrote to its console so far. */
  console(): string;
}

/**
 * @param image a reference that the test registry has
 * @param scratchPath a disk that the machine has, and nobody mounts
 */
export async function startRawMachine(
  image: string,
  kernelDir: string,
  {
    memoryMib = 512,
    cpus = 1,
    scratchPath,
  }: { readonly memoryMib?: number; readonly cpus?: number; readonly scratchPath?: string } = {},
): Promise<RawMachine> {
  await using cleanup = new CleanupStack();
  const home = cleanup.use(await makeHome(kernelDir));
  const options = { paths: home.paths, dockerConfig: null };
  const store = cleanup.use(await openHome(options));
  const rootfs = cleanup.use(await openRootfs(store, await acquireImage(store, image, options), {}));
  const kernel = await findKernel(home.paths);
  if (kernel === undefined) throw new Error(`flamebox setup has left no kernel in ${kernelDir}`);
  const boot = await prepareBoot(kernel, await requireAgent(home.paths), home.paths);
  const { session, machine } = cleanup.use(
    await bootMachine({
      driver: qemuDriver({ acceleration: "tcg" }),
      emulated: true,
      config: {
        boot,
        cpus,
        memoryMib,
        disks: {
          base: { path: rootfs.vmdkPath, format: "vmdk" },
          ...(scratchPath !== undefined && { scratch: { path: scratchPath, format: "raw" } }),
        },
      },
      startNetwork: undefined,
      deadlineMs: DEADLINE_MS,
      onRetry: () => {},
    }),
  );
  const owned = cleanup.move();
  let count = 0;
  return {
    session,
    run: async (config, user) => await runOnce(session, `c${++count}`, config, user),
    console: () => machine.diagnostics().console,
    [Symbol.asyncDispose]: async () => await owned[Symbol.asyncDispose](),
  };
}

async function runOnce(session: AgentSession, id: string, config: object, user?: string): Promise<Outcome> {
  const streams = [session.openIncoming(), session.openIncoming()] as const;
  const texts = Promise.all(streams.map(async ({ stream }) => await textOf(stream)));
  const params = {
    id,
    rootfs: {
      base: { device: BASE_SERIAL, type: "erofs" },
      writable: { type: "tmpfs", sizeBytes: WRITABLE_BYTES },
    },
    ...(user !== undefined && { user: { user } }),
    config,
    stdio: { stdout: streams[0].id, stderr: streams[1].id },
  };
  const deadline = { deadlineMs: DEADLINE_MS };
  let warnings: readonly string[] = [];
  try {
    const created = await session.request("container.create", params, deadline);
    warnings = (created as { readonly warnings?: readonly string[] }).warnings ?? [];
    const exit = session.exitOf(id);
    // Of a container that does not start nobody tells.
    exit.catch(() => {});
    await session.request("container.start", { id }, deadline);
    const { exitCode, signal } = { exitCode: undefined, signal: undefined, ...(await exit) };
    const [stdout = "", stderr = ""] = await texts;
    return { stdout, stderr, exitCode, signal, warnings };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    for (const { stream } of streams) stream.destroy();
    return { stdout: "", stderr: "", warnings, error: `${error.code}: ${error.message}` };
  } finally {
    await session.request("container.delete", { id }, deadline);
  }
}

async function textOf(stream: Readable): Promise<string> {
  let text = "";
  try {
    for await (const chunk of stream) text += String(chunk);
  } catch {
    // Broken off together with the container.
  }
  return text;
}
