/**
 * A real machine with an image on its disk, and a session with its agent: for tests that say themselves what a
 * container's config.json is, instead of leaving it to options.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { buffer } from "node:stream/consumers";
import { inject } from "vitest";
import type {
  AnonymousVolume,
  ContainerRequest,
  CreatedContainer,
  Execution,
} from "../../src/agent/client.ts";
import { configure, createContainer, execInContainer, startContainer } from "../../src/agent/client.ts";
import type { ExitEvent, ProcessEnd } from "../../src/agent/protocol/messages.ts";
import { AgentSession } from "../../src/agent/session/session.ts";
import { acquireImage } from "../../src/container/acquire.ts";
import { openHome } from "../../src/container/home.ts";
import { requireAgent } from "../../src/container/host.ts";
import { makeScratchDisk } from "../../src/container/scratch.ts";
import { openRootfs } from "../../src/images/rootfs.ts";
import { findKernel, prepareBoot } from "../../src/machine/kernel/kernel.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { AGENT_PORT } from "../../src/machine/machine.ts";
import { BASE_SERIAL, SCRATCH_SERIAL } from "../../src/machine/qemu/arguments.ts";
import { qemuDriver } from "../../src/machine/qemu/qemu.ts";
import type { RuntimeConfig } from "../../src/runtime-spec/config.ts";
import { DEFAULT_CAPABILITIES } from "../../src/runtime-spec/capabilities.ts";
import { DEFAULT_PATH } from "../../src/runtime-spec/defaults.ts";
import { generate } from "../../src/runtime-spec/generate.ts";
import { CleanupStack } from "../../src/util/cleanup.ts";

/** More than such a machine has: where a test sets no limit, the one around all containers is what ends it. */
const SHARE = { memoryLimitBytes: 400 * 2 ** 20, cpu: undefined };
const BOOT_DEADLINE_MS = 120_000;

export interface Output {
  readonly end: ProcessEnd;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ContainerChange {
  /** Of one that there was before, whose files it finds. */
  readonly id?: string;
  /** What is run: a shell script, unless `args` are given. */
  readonly script?: string;
  readonly args?: readonly string[];
  readonly user?: string;
  readonly stdin?: boolean;
  readonly terminal?: boolean;
  readonly init?: boolean;
  readonly volumes?: readonly AnonymousVolume[];
  readonly files?: ContainerRequest["files"];
  /** Leaves its output to the test. */
  readonly unread?: boolean;
  /** Changes the config.json that the options of `flamebox run` would have made. */
  readonly config?: (config: RuntimeConfig) => object;
}

export interface ExecChange {
  readonly script?: string;
  readonly args?: readonly string[];
  readonly user?: string;
  readonly stdin?: boolean;
  readonly terminal?: boolean;
  /** Members of `process` in place of the usual ones; undefined leaves one out. */
  readonly process?: object;
}

export class Container {
  readonly id: string;
  readonly created: CreatedContainer;
  readonly exit: Promise<ExitEvent>;
  readonly stdout: Promise<Buffer>;
  readonly stderr: Promise<Buffer>;
  readonly #session: AgentSession;
  #seen = "";
  #wake = (): void => {};

  constructor(session: AgentSession, id: string, created: CreatedContainer, unread: boolean) {
    this.#session = session;
    this.id = id;
    this.created = created;
    this.exit = session.exitOf(id);
    this.exit.catch(() => {});
    if (!unread)
      created.stdout.on("data", (chunk: Buffer) => {
        this.#seen += chunk.toString("latin1");
        this.#wake();
      });
    this.stdout = unread ? Promise.resolve(Buffer.alloc(0)) : collect(created.stdout);
    this.stderr = unread ? Promise.resolve(Buffer.alloc(0)) : collect(created.stderr);
    // A machine may end with containers in it that nobody asks any more.
    this.stdout.catch(() => {});
    this.stderr.catch(() => {});
  }

  /** Waits until its output has had `text` in it. */
  async shows(text: string): Promise<void> {
    while (!this.#seen.includes(text)) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  async start(): Promise<this> {
    await startContainer(this.#session, this.id);
    return this;
  }

  async output(): Promise<Output> {
    return await outputOf(this.exit, this.stdout, this.stderr);
  }

  /** Executes, and takes what comes out of it only when asked. */
  async begin(exec: string, change: ExecChange): Promise<Execution> {
    const process = {
      args: change.args ?? ["sh", "-c", change.script ?? "true"],
      env: [DEFAULT_PATH],
      cwd: "/",
      terminal: change.terminal === true,
      capabilities: {
        bounding: DEFAULT_CAPABILITIES,
        effective: DEFAULT_CAPABILITIES,
        permitted: DEFAULT_CAPABILITIES,
      },
      ...change.process,
    };
    return await execInContainer(this.#session, {
      id: this.id,
      exec,
      process,
      user: change.user ?? "",
      stdin: change.stdin === true,
      terminal: change.terminal === true,
    });
  }

  #execs = 0;

  async exec(change: ExecChange): Promise<Output> {
    const { streams, wait } = await this.begin(`e${this.#execs++}`, change);
    return await outputOf(wait(), collect(streams.stdout), collect(streams.stderr));
  }
}

export async function collect(stream: NodeJS.ReadableStream | undefined): Promise<Buffer> {
  return stream === undefined ? Buffer.alloc(0) : await buffer(stream);
}

async function outputOf(
  end: Promise<ProcessEnd>,
  stdout: Promise<Buffer>,
  stderr: Promise<Buffer>,
): Promise<Output> {
  const [how, out, err] = await Promise.all([end, stdout, stderr]);
  return { end: how, stdout: out.toString("latin1"), stderr: err.toString("latin1") };
}

export class AgentMachine implements AsyncDisposable {
  readonly machine: Machine;
  readonly session: AgentSession;
  /** The writable disk, raw. */
  readonly scratchPath: string;
  readonly #cleanup: AsyncDisposable;

  constructor(machine: Machine, session: AgentSession, scratchPath: string, cleanup: AsyncDisposable) {
    this.machine = machine;
    this.session = session;
    this.scratchPath = scratchPath;
    this.#cleanup = cleanup;
  }

  /** A container that was created and not started. */
  async create(change: ContainerChange = {}): Promise<Container> {
    const id = change.id ?? randomBytes(8).toString("hex");
    const command = change.args ?? ["sh", "-c", change.script ?? "true"];
    const terminal = change.terminal === true;
    const tty = terminal ? { columns: 80, rows: 24 } : undefined;
    const config = generate(
      {},
      { containerId: id, hostname: "box", command, tty, share: SHARE, kernelRelease: "6.12.0" },
    );
    const created = await createContainer(this.session, {
      id,
      baseDevice: BASE_SERIAL,
      scratchDevice: SCRATCH_SERIAL,
      files: change.files ?? [],
      user: change.user ?? "",
      groups: [],
      config: change.config?.(config) ?? config,
      stdin: change.stdin === true,
      terminal,
      init: change.init,
      volumes: change.volumes,
    });
    return new Container(this.session, id, created, change.unread === true);
  }

  async start(change: ContainerChange = {}): Promise<Container> {
    return await (await this.create(change)).start();
  }

  /** Runs it to its end, and removes it. */
  async run(change: ContainerChange): Promise<Output> {
    const container = await this.start(change);
    const output = await container.output();
    await this.remove(container);
    return output;
  }

  async remove(container: Container): Promise<void> {
    await this.session.request("container.delete", { id: container.id }, { deadlineMs: 60_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup[Symbol.asyncDispose]();
  }
}

export interface MachineChange {
  readonly memoryMib?: number;
  readonly cpus?: number;
  readonly storageBytes?: number;
  /** A writable disk that another machine has had; the test's own to remove. */
  readonly scratchPath?: string;
}

/** `image` is a reference that the tests' registry has. */
export async function startAgentMachine(image: string, change: MachineChange = {}): Promise<AgentMachine> {
  await using cleanup = new CleanupStack();
  const dir = await mkdtemp(join(tmpdir(), "flamebox-agent-"));
  cleanup.defer(async () => await rm(dir, { recursive: true, force: true }));
  const paths = { dataDir: join(dir, "data"), runtimeDir: join(dir, "run") };
  const shared = dirname(inject("kernelDir"));
  const kernel = await findKernel({ dataDir: shared, runtimeDir: shared });
  if (kernel === undefined) throw new Error(`flamebox setup has left no kernel in ${shared}`);
  const boot = await prepareBoot(kernel, await requireAgent(paths), { dataDir: shared, runtimeDir: shared });
  const store = cleanup.use(await openHome({ paths }));
  const rootfs = cleanup.use(
    await openRootfs(store, await acquireImage(store, image, { dockerConfig: null }), {}),
  );
  const scratchPath = change.scratchPath ?? join(dir, "scratch.ext4");
  if (change.scratchPath === undefined)
    await makeScratchDisk(paths, scratchPath, { sizeBytes: change.storageBytes ?? 1 << 30 });
  const machine = cleanup.use(
    await qemuDriver({ acceleration: "tcg" }).start(
      {
        boot,
        cpus: change.cpus ?? 1,
        memoryMib: change.memoryMib ?? 256,
        disks: {
          base: { path: rootfs.vmdkPath, format: "vmdk" },
          scratch: { path: scratchPath, format: "raw" },
        },
      },
      {},
    ),
  );
  const stream = await machine.dial(AGENT_PORT);
  const { session } = await AgentSession.open(stream, { deadlineMs: BOOT_DEADLINE_MS });
  cleanup.use(session);
  await configure(session, {
    timeMs: Date.now(),
    entropy: randomBytes(64),
    hostname: "machine",
    machineId: randomBytes(16).toString("hex"),
  });
  return new AgentMachine(machine, session, scratchPath, cleanup.move());
}
