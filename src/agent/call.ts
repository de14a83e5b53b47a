/** One request of the agent's, asked of the right generation, its answer checked, and its stream read. */
import type { Readable } from "node:stream";
import type { BaseIssue, BaseSchema } from "valibot";
import { FlameBoxError } from "../util/error.ts";
import { ProtocolError } from "./protocol/frame.ts";
import { check } from "./protocol/messages.ts";
import type { AgentSession, RequestOptions } from "./session/session.ts";

/** Under emulation, and with many machines on few cores, a mount takes its time. */
export const CREATE_DEADLINE_MS = 60_000;
/** For what takes as long as its bytes take to come: something else ends it when nothing moves. */
export const LONGEST_DEADLINE_MS = 12 * 3_600_000;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A request whose answer has to have a form. One that has not is the end of the session, like any other breach. */
export async function ask<Output>(
  session: AgentSession,
  method: string,
  schema: BaseSchema<unknown, Output, BaseIssue<unknown>>,
  params: object,
  options: RequestOptions,
): Promise<Output> {
  const answer = await session.request(method, params, options);
  try {
    return check(method, schema, answer);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    session.refuse(error);
    throw await session.closed;
  }
}

/** A request that names a stream to this side, on which more follows when it was answered. */
export async function openAnswered<Output>(
  session: AgentSession,
  method: string,
  schema: BaseSchema<unknown, Output, BaseIssue<unknown>>,
  params: object,
  options: CallOptions,
): Promise<{ readonly answer: Output; readonly stream: Readable }> {
  // What was broken off is not whole: whoever reads it is to know.
  const { id, stream } = session.openIncoming({ errorOnReset: method });
  try {
    const call = { ...options, deadlineMs: CREATE_DEADLINE_MS };
    return { answer: await ask(session, method, schema, { ...params, stream: id }, call), stream };
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

/** What stands before each NUL of a stream. Leaving the loop, or aborting, breaks the stream off. */
export async function* recordsOf(
  session: AgentSession,
  stream: Readable,
  maxBytes: number,
  { signal }: CallOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const abort = (): void => void stream.destroy(signal?.reason as Error);
  if (signal?.aborted === true) abort();
  signal?.addEventListener("abort", abort, { once: true });
  const refuse = (why: string): ProtocolError => {
    const error = new ProtocolError(why);
    session.refuse(error);
    return error;
  };
  try {
    let rest: Buffer[] = [];
    let restBytes = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = chunk.indexOf(0); end >= 0; end = chunk.indexOf(0, start)) {
        yield Buffer.concat([...rest, chunk.subarray(start, end)]);
        rest = [];
        restBytes = 0;
        start = end + 1;
      }
      if (start === chunk.length) continue;
      rest.push(chunk.subarray(start));
      restBytes += chunk.length - start;
      if (restBytes > maxBytes) throw refuse(`a record is longer than ${maxBytes} bytes`);
    }
    if (restBytes > 0) throw refuse("a record has no end");
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** @throws FlameBoxError `agent-too-old` */
export function requireGeneration(session: AgentSession, generation: number, what: string): void {
  if (session.generation >= generation) return;
  throw new FlameBoxError(
    "agent-too-old",
    `${what} wants generation ${generation} of the agent protocol, and the machine's agent speaks ${session.generation}`,
    { hint: 'run "flamebox setup", which builds the agent anew' },
  );
}
