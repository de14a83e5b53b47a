/** What is in a container's directory; loaded when somebody asks, as a start needs nothing of it. */
import type { CallOptions } from "../agent/call.ts";
import { listDirectory } from "../agent/listing.ts";
import type { FileStat } from "../agent/files.ts";
import type { AgentSession } from "../agent/session/session.ts";

/** Links are followed. @throws FlameBoxError `path-not-found`, `not-a-directory` */
export async function* directoryEntries(
  session: AgentSession,
  id: string,
  path: string,
  options: CallOptions = {},
): AsyncGenerator<FileStat, void, undefined> {
  yield* (await listDirectory(session, { id, path, follow: true }, options)).entries;
}
