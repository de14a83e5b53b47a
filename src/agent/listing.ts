/** What is in a directory of a container's, one by one, and nothing of what is below. PROTOCOL.md, `container.list`. */
import type { CallOptions } from "./call.ts";
import { openAnswered, recordsOf, requireGeneration } from "./call.ts";
import type { FileQuery, FileStat } from "./files.ts";
import { ProtocolError } from "./protocol/frame.ts";
import { check, fileStatSchema } from "./protocol/messages.ts";
import type { AgentSession } from "./session/session.ts";

/** A name and a link's target, every byte of them escaped, and the rest. */
const MAX_RECORD_BYTES = 65_536;

export interface Listing {
  /** The directory's own. */
  readonly stat: FileStat;
  /** In the order of the names' bytes. To be read to its end, or left. What of a name is not UTF-8 was replaced. */
  readonly entries: AsyncGenerator<FileStat, void, undefined>;
}

/** @throws AgentError `path-not-found`, `not-a-directory`, `not-found`, `conflict`, `failed` */
export async function listDirectory(
  session: AgentSession,
  { id, path, follow }: FileQuery,
  options: CallOptions = {},
): Promise<Listing> {
  requireGeneration(session, 5, "what is in a container's directory");
  const params = { id, path, ...(follow === true && { follow }) };
  const opened = await openAnswered(session, "container.list", fileStatSchema, params, options);
  const entries = async function* (): AsyncGenerator<FileStat, void, undefined> {
    for await (const record of recordsOf(session, opened.stream, MAX_RECORD_BYTES, options)) {
      try {
        yield parseEntry(record);
      } catch (error) {
        if (error instanceof ProtocolError) session.refuse(error);
        throw error;
      }
    }
  };
  return { stat: opened.answer, entries: entries() };
}

/** @throws ProtocolError */
export function parseEntry(record: Buffer): FileStat {
  let value: unknown;
  try {
    value = JSON.parse(record.toString("utf8"));
  } catch {
    throw new ProtocolError("container.list told something that is not JSON");
  }
  const entry = check("container.list", fileStatSchema, value);
  // Whoever joins it to a path must not be led elsewhere.
  if (entry.name === "" || entry.name === "." || entry.name === ".." || entry.name.includes("/"))
    throw new ProtocolError("container.list told a name that is none");
  return entry;
}
