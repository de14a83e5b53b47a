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
import type { Limits, Waiter } from "./deadline.ts";
import { withDeadline } from "./deadline.ts";
import type { IncomingOptions, StreamPort } from "./streams.ts";
import { IncomingStream, OutgoingStream } from "./streams.ts";

/**
 * Answers that nobody waits for, streams that nobody knows and credit of nothing are dropped; only so many, from a
 * guest that invents them. Each counts once, and once more for every KiB.
 */
const MAX_STRAYS = 10_000;
const DEFAULT_DEADLINE_MS = 30_000;
/** What may wait for a guest that does not read. Requests may pass it, data and credit may not. */
const CROWDED_BYTES = 1 << 20;

export interface OpenOptions {
  /** How long the guest may take to say HELLO: its boot. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Every request's deadline is multiplied by this; default 1. */
  readonly patience?: number | undefined;
}

export interface RequestOptions {
  readonly deadlineMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface ExitWaiter<Event> {
  readonly resolve: (event: Event) => void;
  readonly outputs: readonly Readable[];
}

export class AgentSession implements AsyncDisposable {
  /** Resolves with the reason once the session is over: a protocol error, or the connection's end. */
  readonly closed: Promise<FlameBoxError>;
  readonly #duplex: Duplex;
  readonly #decoder = new FrameDecoder();
  readonly #requests = new Map<number, Waiter>();
  readonly #incoming = new Map<number, IncomingStream>();
  readonly #outgoing = new Map<number, OutgoingStream>();
  readonly #exits = new Map<string, ExitWaiter<ExitEvent>>();
  readonly #execExits = new Map<string, ExitWaiter<ExecExitEvent>>();
  #generation = GENERATION;
  #hello: Waiter | undefined;
  #nextRequest = 1;
  #nextStream = 1;
  readonly #patience: number;
  #strays = 0;
  /** What may still come for streams that this side broke off. */
  #lateBytes = 0;
  #reason: FlameBoxError | undefined;
  #losing = false;
  #explain: ((loss: FlameBoxError) => Promise<FlameBoxError>) | undefined;
  #resolveClosed: (reason: FlameBoxError) => void = () => {};

  private constructor(duplex: Duplex, patience: number) {
    this.#duplex = duplex;
    this.#patience = patience;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    duplex.on("data", (chunk: Buffer) => this.#take(chunk));
    duplex.on("drain", () => this.#wake());
    duplex.on("error", (error) => this.#lose(connectionLost(messageOf(error))));
    duplex.on("close", () => this.#lose(connectionLost("the connection closed")));
    duplex.on("end", () => this.#lose(connectionLost("the connection ended")));
  }

  /**
   * Says HELLO and waits for the agent's.
   * @throws FlameBoxError `agent-timeout`, `agent-lost`, ProtocolError `protocol-error`
   */
  static async open(duplex: Duplex, options: OpenOptions): Promise<{ session: AgentSession; hello: Hello }> {
    const session = new AgentSession(duplex, options.patience ?? 1);
    try {
      const answer = await session.#deadline("its first answer", options, (waiter) => {
        session.#hello = waiter;
        duplex.write(encodeJson(FrameType.hello, 0, { generation: GENERATION }));
      });
      const hello = check("HELLO", helloSchema, answer);
      if (hello.generation > GENERATION)
        throw new ProtocolError(
          `the agent speaks generation ${hello.generation}, this side up to ${GENERATION}`,
        );
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
    const { deadlineMs = DEFAULT_DEADLINE_MS, signal } = options;
    const limits = { deadlineMs: deadlineMs * this.#patience, signal };
    const answer = await this.#deadline(`an answer to ${method}`, limits, (waiter) => {
      this.#requests.set(id, waiter);
      this.#duplex.write(body);
    }).finally(() => this.#requests.delete(id));
    try {
      if (!("error" in answer)) return check("an answer", resultSchema, answer).result;
      const { error } = check("an error", errorSchema, answer);
      throw new AgentError(error.code, error.message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lose(error);
      throw await this.closed;
    }
  }

  /**
   * From now on, a session that is lost asks `explain` why, and ends with that: everybody who waits is told the
   * same. `explain` must not reject.
   */
  explainLoss(explain: (loss: FlameBoxError) => Promise<FlameBoxError>): void {
    this.#explain = explain;
  }

  /** What the guest has said is against the protocol, as somebody found who knows what was asked. */
  refuse(error: ProtocolError): void {
    this.#lose(error);
  }

  /** Ends the session for a reason of this side's own; everybody who waits is told it. */
  abandon(reason: FlameBoxError): void {
    this.#close(reason);
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

  /** With `errorOnReset`, which says what is read, a stream that the guest breaks off ends with an error. */
  openIncoming(options: IncomingOptions = {}): { id: number; stream: Readable } {
    const id = this.#nextStream++;
    const stream = new IncomingStream(id, this.#port, options);
    stream.once("close", () => {
      this.#incoming.delete(id);
      this.#lateBytes += stream.lateBytes;
    });
    stream.on("error", ignored);
    this.#incoming.set(id, stream);
    return { id, stream };
  }

  /**
   * Resolves with how the container's process ended; ask before it is started. Rejects if the session ends first.
   * @param outputs the container's: a guest that tells the end before theirs breaks the protocol
   */
  async exitOf(containerId: string, outputs: readonly Readable[] = []): Promise<ExitEvent> {
    const event = new Promise<ExitEvent>((resolve) => this.#exits.set(containerId, { resolve, outputs }));
    const lost = this.closed.then((reason) => Promise.reject(reason));
    return await Promise.race([event, lost]);
  }

  /**
   * How the process `execId` in the container ended; ask before it is executed. Rejects if the session ends first.
   * `forget` is for an exec that the guest has refused: no exit will come.
   * @param outputs as for `exitOf`
   * @throws AgentError `conflict` when one of that name has not ended
   */
  waitExec(
    containerId: string,
    execId: string,
    outputs: readonly Readable[] = [],
  ): { exit: Promise<ExecExitEvent>; forget: () => void } {
    const key = execKey(containerId, execId);
    if (this.#execExits.has(key)) throw new AgentError("conflict", `exec ${JSON.stringify(execId)} exists`);
    const event = new Promise<ExecExitEvent>((resolve) => this.#execExits.set(key, { resolve, outputs }));
    const lost = this.closed.then((reason) => Promise.reject(reason));
    return { exit: Promise.race([event, lost]), forget: () => this.#execExits.delete(key) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close(connectionLost("closed by this side"));
  }

  async #deadline(what: string, limits: Limits, begin: (waiter: Waiter) => void): Promise<object> {
    limits.signal?.throwIfAborted();
    if (this.#reason !== undefined) throw this.#reason;
    return await withDeadline(what, limits, begin);
  }

  readonly #port: StreamPort = {
    isCrowded: () => this.#duplex.writableLength > CROWDED_BYTES,
    data: (id, bytes) => this.#send(() => encodeFrame(FrameType.data, id, bytes)),
    credit: (id, bytes) => this.#send(() => encodeCredit(id, bytes)),
    eof: (id) => this.#send(() => encodeFrame(FrameType.eof, id)),
    reset: (id, reason) => this.#send(() => encodeFrame(FrameType.reset, id, Buffer.from(reason))),
  };

  #send(frame: () => Buffer): void {
    if (this.#reason === undefined && !this.#losing) this.#duplex.write(frame());
  }

  #wake(): void {
    for (const stream of this.#outgoing.values()) stream.wake();
    for (const stream of this.#incoming.values()) stream.wake();
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
        return this.#event(frame);
      case FrameType.data:
        return this.#data(frame);
      case FrameType.credit:
        return this.#credit(frame);
      case FrameType.eof:
        if (this.#incoming.get(frame.id)?.finish() !== true) this.#stray(frame);
        return;
      case FrameType.reset:
        return this.#reset(frame);
      case FrameType.request:
        throw new ProtocolError("only the host makes requests");
    }
  }

  #data(frame: Frame): void {
    const stream = this.#incoming.get(frame.id);
    if (stream !== undefined) return stream.accept(frame.payload);
    this.#lateBytes -= frame.payload.length;
    if (this.#lateBytes < 0) throw new ProtocolError(`data for stream ${frame.id}, which is not open`);
  }

  #credit(frame: Frame): void {
    const bytes = frame.payload.readUInt32LE(0);
    const stream = this.#outgoing.get(frame.id);
    if (stream === undefined || bytes === 0) this.#stray(frame);
    else stream.grant(bytes);
  }

  #reset(frame: Frame): void {
    const outgoing = this.#outgoing.get(frame.id);
    if (outgoing !== undefined) outgoing.close();
    else if (this.#incoming.get(frame.id)?.breakOff(frame.payload) !== true) this.#stray(frame);
  }

  #answer(waiter: Waiter | undefined, frame: Frame, ifUnwanted?: string): void {
    if (waiter === undefined) {
      if (ifUnwanted !== undefined) throw new ProtocolError(ifUnwanted);
      return this.#stray(frame);
    }
    // Before the waiter is forgotten: whoever waits for what cannot be read is told so by the session's end.
    const answer = decodeJson(frame);
    // Each waiter takes one answer.
    if (frame.type === FrameType.hello) this.#hello = undefined;
    else this.#requests.delete(frame.id);
    waiter.resolve(answer);
  }

  #event(frame: Frame): void {
    const value = decodeJson(frame);
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
    this.#stray(frame);
  }

  #ended<Event>(exits: Map<string, ExitWaiter<Event>>, key: string, event: Event): void {
    const waiter = exits.get(key);
    if (waiter === undefined) throw new ProtocolError("an exit of a process that was not running");
    // Whoever reads an output to its end would wait for ever.
    if (waiter.outputs.some((output) => output instanceof IncomingStream && !output.isOver))
      throw new ProtocolError("an exit of a process whose output has not ended");
    exits.delete(key);
    waiter.resolve(event);
  }

  #stray(frame: Frame): void {
    this.#strays += 1 + (frame.payload.length >> 10);
    if (this.#strays > MAX_STRAYS) throw new ProtocolError("too many frames that nobody waits for");
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
    // One that has ended is all here, and can still be read.
    for (const stream of this.#incoming.values()) if (!stream.isOver) stream.destroy(reason);
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
