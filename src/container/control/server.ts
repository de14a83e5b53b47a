/** The control socket's side of the process that runs a container: every method, and what it does to the keeper. */
import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import * as v from "valibot";
import { FlameBoxError } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import type { ExecProcess } from "../exec.ts";
import type { Keeper } from "../lifecycle/keeper.ts";
import { readRecord } from "../lifecycle/record.ts";
import type { LogStream } from "../log/format.ts";
import type { ContainerExit } from "../options.ts";
import { listen } from "./socket.ts";
import { Channel, FrameKind, packError } from "./wire.ts";

/** For those who do not read what they are told. */
const LAST_WORDS_MS = 2_000;

const size = v.object({ columns: v.number(), rows: v.number() });
const stopSchema = v.object({
  signal: v.optional(v.union([v.string(), v.number()])),
  timeoutMs: v.optional(v.number()),
});
const attachSchema = v.object({ stdin: v.boolean() });
const execSchema = v.object({
  command: v.array(v.string()),
  detach: v.optional(v.boolean(), false),
  env: v.optional(v.record(v.string(), v.string())),
  workdir: v.optional(v.string()),
  user: v.optional(v.string()),
  tty: v.optional(size),
  term: v.optional(v.string()),
  interactive: v.optional(v.boolean()),
  privileged: v.optional(v.boolean()),
});
const statSchema = v.object({ path: v.string(), follow: v.optional(v.boolean()) });
const archiveSchema = v.object({ ...statSchema.entries, oneFileSystem: v.optional(v.boolean()) });
const listSchema = v.object({ path: v.string() });
const extractSchema = v.object({
  path: v.string(),
  owner: v.optional(v.object({ uid: v.number(), gid: v.number() })),
});
const changeSchema = v.object({
  restart: v.optional(
    v.object({
      name: v.picklist(["no", "on-failure", "always", "unless-stopped"]),
      maximumRetryCount: v.number(),
    }),
  ),
  cpus: v.optional(v.number()),
  cpuQuotaUs: v.optional(v.number()),
  cpuPeriodUs: v.optional(v.number()),
  cpusetCpus: v.optional(v.string()),
  cpuShares: v.optional(v.number()),
  memoryMib: v.optional(v.number()),
  memoryReservationBytes: v.optional(v.number()),
  memorySwapBytes: v.optional(v.number()),
  pidsLimit: v.optional(v.number()),
});
const ofExec = v.object({ exec: v.optional(v.string()) });
const signalSchema = v.object({ ...ofExec.entries, signal: v.number() });
const resizeSchema = v.object({ ...ofExec.entries, ...size.entries });

function parse<Output>(schema: v.GenericSchema<unknown, Output>, params: unknown): Output {
  const parsed = v.safeParse(schema, params ?? {});
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw new FlameBoxError(
    "invalid-option",
    `a request's ${v.getDotPath(issue) ?? "parameters"}: ${issue.message}`,
  );
}

type Method = (params: unknown, channel: Channel) => Promise<object | undefined>;

export class ControlServer implements AsyncDisposable {
  /** Resolves when somebody has attached for the first time. */
  readonly attached: Promise<void>;
  readonly #keeper: Keeper;
  readonly #paths: Paths;
  readonly #execs = new Map<string, ExecProcess>();
  readonly #serving = new Set<Promise<void>>();
  readonly #methods: Readonly<Record<string, Method>>;
  #onAttached: () => void = () => {};
  #listener: AsyncDisposable | undefined;

  private constructor(paths: Paths, keeper: Keeper) {
    this.#paths = paths;
    this.#keeper = keeper;
    this.attached = new Promise((resolve) => {
      this.#onAttached = resolve;
    });
    this.#methods = this.#table();
  }

  static async listen(paths: Paths, keeper: Keeper): Promise<ControlServer> {
    const server = new ControlServer(paths, keeper);
    server.#listener = await listen(paths, keeper.record.id, (socket) => server.#accept(socket));
    return server;
  }

  #table(): Record<string, Method> {
    const keeper = this.#keeper;
    const done = async (job: Promise<unknown>): Promise<object> => {
      await job;
      return {};
    };
    return {
      state: async () => ({ state: keeper.state }),
      signal: async (params) => await done(this.#signal(parse(signalSchema, params))),
      resize: async (params) => await done(this.#resize(parse(resizeSchema, params))),
      stop: async (params) => ({ state: await keeper.stop(parse(stopSchema, params)) }),
      restart: async (params) => await done(keeper.restart(parse(stopSchema, params))),
      pause: async () => await done(keeper.pause()),
      unpause: async () => await done(keeper.unpause()),
      wait: async () => ({ exit: await keeper.exit }),
      stats: async () => ({ stats: await keeper.container.stats() }),
      attach: async (params, channel) => await this.#attach(parse(attachSchema, params), channel),
      exec: async (params, channel) => await this.#exec(parse(execSchema, params), channel),
      update: async (params) => ({ notices: await keeper.change(parse(changeSchema, params)) }),
      reload: async () => await done(this.#reload()),
      processes: async () => ({ processes: await keeper.container.contents.processes() }),
      stat: async (params) => {
        const { path, ...options } = parse(statSchema, params);
        return { stat: await keeper.container.contents.stat(path, options) };
      },
      archive: async (params, channel) => {
        const { path, ...options } = parse(archiveSchema, params);
        const { stat, stream } = await keeper.container.contents.archive(path, options);
        return await sendStream(channel, { stat }, stream);
      },
      layer: async (_params, channel) => {
        return await sendStream(channel, {}, await keeper.container.contents.layer());
      },
      changes: async (_params, channel) =>
        await sendStream(channel, {}, linesOf(keeper.container.contents.changes())),
      list: async (params, channel) => {
        const { path } = parse(listSchema, params);
        return await sendStream(channel, {}, linesOf(keeper.container.contents.list(path)));
      },
      extract: async (params, channel) => await this.#extract(parse(extractSchema, params), channel),
    };
  }

  #accept(socket: Socket): void {
    const serving = this.#serve(socket).catch(() => {});
    this.#serving.add(serving);
    void serving.then(() => this.#serving.delete(serving));
  }

  async #serve(socket: Socket): Promise<void> {
    await using channel = new Channel(socket);
    const request = await channel.nextMessage();
    if (request === undefined) return;
    try {
      const { method } = request;
      const known = typeof method === "string" && Object.hasOwn(this.#methods, method);
      const run = known ? this.#methods[method] : undefined;
      if (run === undefined) throw new FlameBoxError("unknown-method", "the container's process is too old");
      const result = await run(request["params"], channel);
      if (result !== undefined) await channel.sendMessage({ result });
    } catch (error) {
      await channel.sendMessage({ error: packError(error) });
    }
    channel.end();
  }

  async #signal({ exec, signal }: v.InferOutput<typeof signalSchema>): Promise<void> {
    if (exec === undefined) await this.#keeper.kill(signal);
    else await this.#execOf(exec).kill(signal);
  }

  async #resize({ exec, columns, rows }: v.InferOutput<typeof resizeSchema>): Promise<void> {
    const target = exec === undefined ? this.#keeper.container : this.#execOf(exec);
    await target.resize({ columns, rows });
  }

  #execOf(id: string): ExecProcess {
    const process = this.#execs.get(id);
    if (process === undefined) throw new FlameBoxError("exec-not-found", `the process ${id} has ended`);
    return process;
  }

  async #reload(): Promise<void> {
    const record = await readRecord(this.#paths, this.#keeper.record.id);
    if (record !== undefined) await this.#keeper.take(record);
  }

  /** The container's output from now on; and its input, if that is asked for and open. */
  async #attach({ stdin }: v.InferOutput<typeof attachSchema>, channel: Channel): Promise<undefined> {
    const keeper = this.#keeper;
    const { tty, interactive = false } = keeper.record.options;
    await channel.sendMessage({ result: { tty: tty !== undefined, stdin: interactive } });
    const ended = new Promise<ContainerExit | Error>((resolve) => {
      const detach = keeper.attachments.add({
        write: async (stream, bytes) => await channel.send(kindOf(stream), bytes),
        end: resolve,
      });
      // Nobody reads any more: the container must not wait for him.
      void takeInput(channel, async () => (stdin && interactive ? (await keeper.started).stdin : null), {
        endsInput: tty === undefined,
      }).then(() => channel.isClosed && detach());
    });
    this.#onAttached();
    const exit = await ended;
    if (exit instanceof Error) throw exit;
    await channel.sendMessage({ exit });
    return undefined;
  }

  async #exec(
    { command, detach, ...options }: v.InferOutput<typeof execSchema>,
    channel: Channel,
  ): Promise<undefined> {
    const executed = await this.#keeper.container.exec(command, options);
    await this.#keeper.note("exec_start", { execId: executed.id, command: command.join(" ").slice(0, 4096) });
    this.#execs.set(executed.id, executed);
    const ended = this.#untilDead(executed);
    ended.catch(() => {});
    await channel.sendMessage({ result: { id: executed.id } });
    if (detach) {
      for (const output of [executed.stdout, executed.stderr]) output.on("error", () => {}).resume();
      return undefined;
    }
    void takeInput(channel, async () => executed.stdin, { endsInput: true });
    await Promise.all([
      forward(executed.stdout, "stdout", channel),
      forward(executed.stderr, "stderr", channel),
    ]);
    await channel.sendMessage({ exit: await ended });
    return undefined;
  }

  async #untilDead(executed: ExecProcess): Promise<ContainerExit> {
    try {
      const exit = await executed.wait();
      await this.#keeper.note("exec_die", { execId: executed.id, exitCode: String(exit.code) });
      return exit;
    } finally {
      this.#execs.delete(executed.id);
    }
  }

  async #extract({ path, owner }: v.InferOutput<typeof extractSchema>, channel: Channel): Promise<undefined> {
    const { stream, done } = this.#keeper.container.contents.startExtraction(path, { owner });
    await channel.sendMessage({ result: {} });
    const taken = takeInput(channel, async () => stream, { endsInput: true });
    // Whoever sent it may go in the middle.
    const endless = async (): Promise<void> => {
      await taken;
      if (!stream.writableEnded) stream.destroy();
    };
    void endless();
    await done;
    await channel.sendMessage({ exit: { code: 0, oomKilled: false } });
    return undefined;
  }

  /** Takes no more, and waits until everybody who was being answered has been. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener?.[Symbol.asyncDispose]();
    await Promise.race([Promise.all(this.#serving), sleep(LAST_WORDS_MS, undefined, { ref: false })]);
  }
}

/** An answer, and then bytes until they end. */
async function sendStream(
  channel: Channel,
  result: object,
  source: AsyncIterable<Buffer>,
): Promise<undefined> {
  await channel.sendMessage({ result });
  for await (const chunk of source) await channel.send(FrameKind.stdout, chunk);
  await channel.sendMessage({ exit: { code: 0, oomKilled: false } });
  return undefined;
}

async function* linesOf(values: AsyncIterable<object>): AsyncGenerator<Buffer, void, undefined> {
  for await (const value of values) yield Buffer.from(`${JSON.stringify(value)}\n`);
}

function kindOf(stream: LogStream): FrameKind {
  return stream === "stdout" ? FrameKind.stdout : FrameKind.stderr;
}

/** A process whose reader has gone away goes on, and is read. */
async function forward(source: Readable, stream: LogStream, channel: Channel): Promise<void> {
  let isThere = true;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    if (!isThere) continue;
    await channel.send(kindOf(stream), chunk).catch(() => {
      isThere = false;
    });
  }
}

/** Hands on what comes as input, until the other side sends no more; and reads on where there is no input to take. */
async function takeInput(
  channel: Channel,
  sinkOf: () => Promise<Writable | null>,
  { endsInput }: { readonly endsInput: boolean },
): Promise<void> {
  const sink = await sinkOf().catch(() => null);
  try {
    for (let frame = await channel.next(); frame !== undefined; frame = await channel.next()) {
      if (frame.kind === FrameKind.stdin && sink?.writable === true) await write(sink, frame.payload);
      if (frame.kind === FrameKind.stdinEnd && endsInput) sink?.end();
    }
  } catch {
    // Not spoken as it should be: as if it had gone.
    await channel[Symbol.asyncDispose]();
  }
}

async function write(sink: Writable, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve) => {
    // A process that takes no more input is no reason to hear no more from its user.
    sink.write(bytes, () => resolve());
  });
}
