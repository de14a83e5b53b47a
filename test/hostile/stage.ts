/**
 * The whole way of a container (image, disk, boot, start, wait, stop) on a machine whose guest is a script:
 * everything of the host is real but the VMM, whose place a socket takes.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { HeartbeatTiming } from "../../src/agent/session/heartbeat.ts";
import type { Host } from "../../src/container/host.ts";
import type { ContainerOptions, RunningContainer } from "../../src/container/options.ts";
import { startOn } from "../../src/container/start.ts";
import { pullImage } from "../../src/images/pull.ts";
import type { Machine, MachineDriver, MachineExit } from "../../src/machine/machine.ts";
import { parse } from "../../src/reference/reference.ts";
import { openStore } from "../../src/store/store.ts";
import { locatePaths } from "../../src/util/paths.ts";
import type { Paths } from "../../src/util/paths.ts";
import { amd64, memorySource, tarOf } from "../images/memory-source.ts";

export const IMAGE = "test.invalid/image:1";
const STORAGE_BYTES = 16 << 20;
/** Beyond what the kernel gives: nothing can be recorded for it, and nothing killed. */
const NO_PID = 2 ** 30;

export interface Timing {
  readonly bootDeadlineMs: number;
  readonly patience: number;
  readonly heartbeat: HeartbeatTiming;
}

/** The usual waits, at a twentieth or less. */
export const QUICK: Timing = {
  bootDeadlineMs: 1_000,
  patience: 0.05,
  heartbeat: { everyMs: 200, answerMs: 400, misses: 3 },
};

export class ScriptedMachine implements Machine {
  readonly description = "a script";
  readonly pid = NO_PID;
  readonly exited: Promise<MachineExit>;
  readonly stream: Socket;
  /** What ended it: its own guest's script, or the host. */
  killed = false;
  /** When its guest began to misbehave, and when it was no more; `performance.now()`. */
  attackedMs = 0;
  endedMs = Number.POSITIVE_INFINITY;
  #end: (exit: MachineExit) => void = () => {};

  constructor(stream: Socket) {
    this.stream = stream;
    this.exited = new Promise((resolve) => (this.#end = resolve));
    void this.exited.then(() => (this.endedMs = performance.now()));
  }

  async dial(): Promise<Duplex> {
    return this.stream;
  }

  async kill(): Promise<void> {
    this.killed = true;
    this.stream.destroy();
    this.#end({ code: null, signal: "SIGKILL" });
  }

  /** The VMM ends by itself. */
  end(exit: MachineExit): void {
    this.stream.destroy();
    this.#end(exit);
  }

  diagnostics(): { console: string; stderr: string } {
    return { console: "\u001b[31mlast words\u001b[0m of the guest\n", stderr: "" };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** A home with one image in it; machines in it are played. */
export class Stage implements AsyncDisposable {
  readonly paths: Paths;
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
    this.paths = locatePaths({ FLAMEBOX_HOME: dir });
  }

  static async open(): Promise<Stage> {
    const stage = new Stage(await mkdtemp(join(tmpdir(), "flamebox-stage-")));
    await using store = await openStore(stage.paths);
    const source = memorySource([await tarOf({ "bin/tool": "tool\n" })]);
    await pullImage(store, parse(IMAGE), source, { platform: amd64 });
    return stage;
  }

  /** @param connectGuest makes the two ends of a machine's stream, and returns the host's */
  async start(
    connectGuest: () => Promise<ScriptedMachine>,
    options: ContainerOptions = {},
    timing: Timing = QUICK,
  ): Promise<RunningContainer> {
    const driver: MachineDriver = {
      name: "script",
      baseFormat: "vmdk",
      diskNames: { base: "base", scratch: "scratch" },
      overlays: false,
      start: connectGuest,
    };
    const kernel = {
      name: "0",
      release: "0",
      kind: "debian" as const,
      path: "",
      moduleDir: "",
      modules: [],
    };
    const kvm = { usable: true, reason: "" };
    const host: Host = { driver, kernel, kvm, boot: { kernelPath: "", initramfsPath: "" } };
    return await startOn({ prepareHost: async () => host, ...timing }, IMAGE, {
      paths: this.paths,
      pull: "never",
      network: "none",
      storageBytes: STORAGE_BYTES,
      command: ["/bin/tool"],
      interactive: true,
      ...options,
    });
  }

  /** What is there and should not be once nothing runs. */
  async leftovers(): Promise<string[]> {
    const { dataDir, runtimeDir } = this.paths;
    const dirs = [runtimeDir, ...["containers", "tmp", "leases", "locks"].map((name) => join(dataDir, name))];
    const found = await Promise.all(dirs.map(async (dir) => await readdir(dir).catch(() => [])));
    return found.flat();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** A connected pair of sockets over loopback. */
export async function socketPair(): Promise<[host: Socket, guest: Socket]> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const host = connect(port, "127.0.0.1");
  const guest = await accepted;
  server.close();
  return [host, guest];
}
