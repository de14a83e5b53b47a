/** What a container has changed of its image: as a list, and as a layer. PROTOCOL.md, "Files". */
import type { Readable } from "node:stream";
import type { CallOptions } from "./call.ts";
import { openAnswered, recordsOf, requireGeneration } from "./call.ts";
import { ProtocolError } from "./protocol/frame.ts";
import { emptySchema } from "./protocol/messages.ts";
import type { AgentSession } from "./session/session.ts";

const WHAT = "what a container has changed";

/** Deep directories have long paths; no name in one is longer than 255 bytes. */
const MAX_RECORD_BYTES = 1 << 20;

/** As `docker diff` has them. */
export type ChangeKind = "added" | "changed" | "deleted";

export interface Change {
  readonly kind: ChangeKind;
  /** Absolute, in the container. What of it is not UTF-8 was replaced. */
  readonly path: string;
}

const KINDS: Readonly<Record<string, ChangeKind>> = { A: "added", C: "changed", D: "deleted" };

/**
 * In the order of paths, a directory before what is in it. One in which something has changed is changed. What the
 * machine has made to mount something on is not told.
 * @throws AgentError `not-found`, `conflict`, `failed`
 */
export async function* containerChanges(
  session: AgentSession,
  id: string,
  options: CallOptions = {},
): AsyncGenerator<Change, void, undefined> {
  requireGeneration(session, 4, WHAT);
  const { stream } = await openAnswered(session, "container.changes", emptySchema, { id }, options);
  for await (const record of recordsOf(session, stream, MAX_RECORD_BYTES, options)) {
    const change = parseChange(record);
    if (change === undefined) {
      const broken = new ProtocolError("container.changes told something that is no change");
      session.refuse(broken);
      throw broken;
    }
    yield change;
  }
}

/** `A /path`. Undefined for anything else. */
export function parseChange(record: Buffer): Change | undefined {
  const text = record.toString("utf8");
  const kind = KINDS[text.charAt(0)];
  if (kind === undefined || !text.startsWith(" /", 1)) return undefined;
  return { kind, path: text.slice(2) };
}

/**
 * The same as a layer of an image: a tar archive with whiteouts, in a settled order. It errors (AgentError `failed`)
 * when the guest could not go on, so that one that has ended is whole; its owner destroys it when it is not to be read to
 * its end. It is a hostile guest's, as every layer is.
 * @throws AgentError `not-found`, `conflict`, `failed`
 */
export async function containerLayer(
  session: AgentSession,
  id: string,
  options: CallOptions = {},
): Promise<Readable> {
  requireGeneration(session, 4, WHAT);
  const { stream } = await openAnswered(session, "container.layer", emptySchema, { id }, options);
  return stream;
}
