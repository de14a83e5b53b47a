/**
 * One conversation with an agent: requests and answers, streams, events, over any Duplex.
 *
 *     Duplex ─► FrameDecoder ─┬► RESPONSE ─► the request that waits for it, under its deadline
 *                             ├► DATA, EOF, RESET, CREDIT ─► the stream of that id
 *                             └► EVENT ─► exit of a container, or of a process executed into one
 *
 * The guest is hostile until checked. Anything against the protocol ends the session: every waiting call
 * rejects with the reason, `closed` resolves, and the owner kills the machine.
 */
import type { Duplex, Readable, Writable } from "node:stream";
import { FlameBoxError, messageOf } from "../../util/error.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  decodeJson,
  encodeCredit,
  encodeFrame,
  encodeJson,
  FrameDecoder,
  FrameType,
  GENERATION,
  INITIAL_CREDIT_BYTES,
  ProtocolError,
} from "../protocol/frame.ts";
import type { ExecExitEvent, ExitEvent, Hello } from "../protocol/messages.ts";
import {
  AgentError,
  check,
  errorSchema,
  execExitSchema,
  exitSchema,
  helloSchema,
  resultSchema,
} from "../protocol/messages.ts";
import type { StreamPort } from "./streams.ts";
import { IncomingStream, OutgoingStream } from "./streams.ts";

/** Answers that nobody waits for and streams nobody knows are dropped; only so many, from a guest that invents them. */
const MAX_STRAY_FRAMES = 10_000;
/** A stream that this side broke off may rightly have a window full of one-byte frames under way; and there are two. */
const MAX_LATE_FRAMES = 2 * INITIAL_CREDIT_BYTES;
const DEFAULT_DEADLINE_MS = 30_000;

export interface OpenOptions {
  /** How long the guest may take to say HELLO: its boot. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface RequestOptions {
  readonly deadlineMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Waiter {
  readonly resolve: (value: object) => void;
  readonly reject: (error: unknown) => void;
}

export class AgentSession implements AsyncDisposable {
  /** Resolves with the reason once the session is over: a protocol error, or the connection's end. */
  readonly closed: Promise<FlameBoxError>;
  readonly #duplex: Duplex;
  readonly #decoder = new FrameDecoder();
  readonly #requests = new Map<number, Waiter>();
  readonly #incoming = new Map<number, IncomingStream>();
  readonly #outgoing = new Map<number, OutgoingStream>();
  readonly #exits = new Map<string, (event: ExitEvent) => void>();
  readonly #execExits = new Map<string, (event: ExecExitEvent) => void>();
  #generation = GENERATION;
  #hello: Waiter | undefined;
  #nextRequest = 1;
  #nextStream = 1;
  #strayFrames = 0;
  #lateFrames = 0;
  #reason: FlameBoxError | undefined;
  #losing = false;
  #explain: ((loss: FlameBoxError) => Promise<FlameBoxError>) | undefined;
  #resolveClosed: (reason: FlameBoxError) => void = () => {};

  private constructor(duplex: Duplex) {
    this.#duplex = duplex;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    duplex.on("data", (chunk: Buffer) => this.#take(chunk));
    duplex.on("error", (error) => this.#lose(connectionLost(messageOf(error))));
    duplex.on("close", () => this.#lose(connectionLost("the connection closed")));
    duplex.on("end", () => this.#lose(connectionLost("the connection ended")));
  }

  /**
   * Says HELLO and waits for the agent's.
   * @throws FlameBoxError `agent-timeout`, `agent-lost`, ProtocolError `protocol-error`
   */
  static async open(duplex: Duplex, options: OpenOptions): Promise<{ session: AgentSession; hello: Hello }> {
    const session = new AgentSession(duplex);
    try {
      const answer = await session.#deadline("its first answer", options, (waiter) => {
        session.#hello = waiter;
        duplex.write(encodeJson(FrameType.hello, 0, { generation: GENERATION }));
      });
      const hello = check("HELLO", helloSchema, answer);
      if (hello.generation > GENERATION)
        throw new ProtocolError(`the agent speaks generation ${hello.generation}, this side ${GENERATION}`);
      session.#generation = hello.generation;
      return { session, hello };
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What both sides speak. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * @returns the `result` object, members unchecked
   * @throws AgentError for the guest's refusal; FlameBoxError `agent-timeout`, `agent-lost`, `request-too-large`
   */
  async request(method: string, params: object, options: RequestOptions = {}): Promise<object> {
    const id = this.#nextRequest++;
    const body = encodeRequest(id, method, params);
    const answer = await this.#deadline(`an answer to ${method}`, options, (waiter) => {
      this.#requests.set(id, waiter);
      this.#duplex.write(body);
    }).finally(() => this.#requests.delete(id));
    if ("error" in answer) {
      const { error } = check("an error", errorSchema, answer);
      throw new AgentError(error.code, error.message);
    }
    return check("an answer", resultSchema, answer).result;
  }

  /**
   * From now on, a session that is lost asks `explain` why, and ends with that: everybody who waits is told the
   * same. `explain` must not reject.
   */
  explainLoss(explain: (loss: FlameBoxError) => Promise<FlameBoxError>): void {
    this.#explain = explain;
  }

  /** A stream to the guest; its id goes into the request that gives it a meaning. */
  openOutgoing(): { id: number; stream: Writable } {
    const id = this.#nextStream++;
    const stream = new OutgoingStream(id, this.#port);
    stream.once("close", () => this.#outgoing.delete(id));
    stream.on("error", ignored);
    this.#outgoing.set(id, stream);
    return { id, stream };
  }

  openIncoming(): { id: number; stream: Readable } {
    const id = this.#nextStream++;
    const stream = new IncomingStream(id, this.#port);
    stream.once("close", () => this.#incoming.delete(id));
    stream.on("error", ignored);
    this.#incoming.set(id, stream);
    return { id, stream };
  }

  /** Resolves with how the container's process ended; ask before it is started. Rejects if the session ends first. */
  async exitOf(containerId: string): Promise<ExitEvent> {
    const event = new Promise<ExitEvent>((resolve) => this.#exits.set(containerId, resolve));
    const lost = this.closed.then((reason) => Promise.reject(reason));
    return await Promise.race([event, lost]);
  }

  /**
   * How the process `execId` in the container ended; ask before it is executed. Rejects if the session ends first.
   * `forget` is for an exec that the guest has refused: no exit will come.
   * @throws AgentError `conflict` when one of that name has not ended
   */
  waitExec(containerId: string, execId: string): { exit: Promise<ExecExitEvent>; forget: () => void } {
    const key = execKey(containerId, execId);
    if (this.#execExits.has(key)) throw new AgentError("conflict", `exec ${JSON.stringify(execId)} exists`);
    const event = new Promise<ExecExitEvent>((resolve) => this.#execExits.set(key, resolve));
    const lost = this.closed.then((reason) => Promise.reject(reason));
    return { exit: Promise.race([event, lost]), forget: () => this.#execExits.delete(key) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close(connectionLost("closed by this side"));
  }

  async #deadline(what: string, options: RequestOptions, begin: (waiter: Waiter) => void): Promise<object> {
    const { deadlineMs = DEFAULT_DEADLINE_MS, signal } = options;
    signal?.throwIfAborted();
    if (this.#reason !== undefined) throw this.#reason;
    let cleanUp = (): void => {};
    try {
      return await new Promise<object>((resolve, reject) => {
        const timer = setTimeout(
          () =>
            reject(
              new FlameBoxError(
                "agent-timeout",
                `the guest did not give ${what} within ${deadlineMs / 1000} s`,
                {
                  temporary: true,
                },
              ),
            ),
          deadlineMs,
        );
        // The promise rejects with whatever reason the caller aborted with.
        const onAbort = (): void => reject(signal?.reason as Error);
        signal?.addEventListener("abort", onAbort, { once: true });
        cleanUp = () => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", onAbort);
        };
        begin({ resolve, reject });
      });
    } finally {
      cleanUp();
    }
  }

  readonly #port: StreamPort = {
    data: (id, bytes) => this.#send(() => encodeFrame(FrameType.data, id, bytes)),
    credit: (id, bytes) => this.#send(() => encodeCredit(id, bytes)),
    eof: (id) => this.#send(() => encodeFrame(FrameType.eof, id)),
    reset: (id, reason) => this.#send(() => encodeFrame(FrameType.reset, id, Buffer.from(reason))),
  };

  #send(frame: () => Buffer): void {
    if (this.#reason === undefined && !this.#losing) this.#duplex.write(frame());
  }

  #take(chunk: Buffer): void {
    if (this.#reason !== undefined || this.#losing) return;
    try {
      for (const frame of this.#decoder.decode(chunk)) this.#dispatch(frame);
    } catch (error) {
      this.#lose(error instanceof FlameBoxError ? error : new ProtocolError(messageOf(error)));
    }
  }

  #dispatch(frame: Frame): void {
    switch (frame.type) {
      case FrameType.hello:
        return this.#answer(this.#hello, frame, "a second HELLO");
      case FrameType.response:
        return this.#answer(this.#requests.get(frame.id), frame);
      case FrameType.event:
        return this.#event(decodeJson(frame));
      case FrameType.data:
        if (!this.#incoming.has(frame.id) && frame.id < this.#nextStream) return this.#late();
        return this.#known(this.#incoming.get(frame.id), (stream) => stream.accept(frame.payload));
      case FrameType.credit:
        return this.#known(this.#outgoing.get(frame.id), (stream) =>
          stream.grant(frame.payload.readUInt32LE(0)),
        );
      case FrameType.eof:
        return this.#known(this.#incoming.get(frame.id), (stream) => stream.finish());
      case FrameType.reset:
        this.#known(this.#outgoing.get(frame.id), (stream) => stream.close());
        this.#incoming.get(frame.id)?.finish();
        return;
      case FrameType.request:
        throw new ProtocolError("only the host makes requests");
    }
  }

  #answer(waiter: Waiter | undefined, frame: Frame, ifUnwanted?: string): void {
    if (waiter === undefined) {
      if (ifUnwanted !== undefined) throw new ProtocolError(ifUnwanted);
      return this.#known(undefined, () => {});
    }
    // Each waiter takes one answer.
    if (frame.type === FrameType.hello) this.#hello = undefined;
    else this.#requests.delete(frame.id);
    waiter.resolve(decodeJson(frame));
  }

  #event(value: object): void {
    const name = "event" in value ? value.event : undefined;
    if (name === "container.exit") {
      const event = check(name, exitSchema, value);
      return this.#ended(this.#exits, event.id, event);
    }
    if (name === "container.exec.exit" && this.#generation >= 2) {
      const event = check(name, execExitSchema, value);
      return this.#ended(this.#execExits, execKey(event.id, event.exec), event);
    }
    // Events that a later generation adds are not for this side.
    this.#known(undefined, () => {});
  }

  #ended<Event>(exits: Map<string, (event: Event) => void>, key: string, event: Event): void {
    const resolve = exits.get(key);
    if (resolve === undefined) throw new ProtocolError("an exit of a process that was not running");
    exits.delete(key);
    resolve(event);
  }

  #late(): void {
    if (++this.#lateFrames > MAX_LATE_FRAMES)
      throw new ProtocolError("too many frames for streams that were broken off");
  }

  #known<T>(target: T | undefined, use: (target: T) => void): void {
    if (target !== undefined) use(target);
    else if (++this.#strayFrames > MAX_STRAY_FRAMES)
      throw new ProtocolError("too many frames that nobody waits for");
  }

  /** Not by this side's will: nothing more is taken or sent, but nobody is told before it is known why. */
  #lose(loss: FlameBoxError): void {
    if (this.#reason !== undefined || this.#losing) return;
    this.#losing = true;
    if (this.#explain === undefined) return this.#close(loss);
    this.#duplex.destroy();
    void this.#explain(loss).then((reason) => this.#close(reason));
  }

  #close(reason: FlameBoxError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#hello?.reject(reason);
    for (const waiter of this.#requests.values()) waiter.reject(reason);
    this.#requests.clear();
    for (const stream of this.#incoming.values()) stream.destroy(reason);
    for (const stream of this.#outgoing.values()) stream.close();
    this.#duplex.destroy();
    this.#resolveClosed(reason);
  }
}

/** @throws FlameBoxError `request-too-large` */
function encodeRequest(id: number, method: string, params: object): Buffer {
  try {
    return encodeJson(FrameType.request, id, { method, params });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new FlameBoxError(
      "request-too-large",
      `arguments, environment and files are more than a guest takes: ${error.message}`,
      { hint: "hand large data over as standard input", cause: error },
    );
  }
}

/** No id has a slash. */
function execKey(containerId: string, execId: string): string {
  return `${containerId}/${execId}`;
}

function connectionLost(why: string): FlameBoxError {
  return new FlameBoxError("agent-lost", `the connection to the guest is lost: ${why}`);
}

/** The session's end breaks its streams, whether or not their owner listens yet; requests and `closed` tell why. */
function ignored(): void {}
