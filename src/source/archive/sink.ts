/** A tar archive that is written as it comes: to a file, or down a pipe. */
import { ARCHIVE_END, memberHeader, memberPadding } from "../../formats/tar/members.ts";
import { SourceError } from "../error.ts";
import type { FileSink } from "../sink.ts";

export interface ArchiveSink extends FileSink {
  /** The end of the archive; a reader of a pipe waits for it. */
  finish(): Promise<void>;
}

/** @param write resolves when the bytes are taken; they are its own then */
export function archiveSink(write: (bytes: Uint8Array) => Promise<void>): ArchiveSink {
  const written = new Set<string>();
  return {
    has: async (name) => written.has(name),
    async put(name, sizeBytes, chunks) {
      written.add(name);
      await write(memberHeader(name, sizeBytes));
      let done = 0;
      for await (const chunk of chunks) {
        done += chunk.length;
        if (done > sizeBytes) break;
        await write(chunk);
      }
      if (done !== sizeBytes) {
        const message = `${name} has the wrong size: got ${done}, want ${sizeBytes} bytes`;
        throw new SourceError("size-mismatch", message);
      }
      await write(memberPadding(sizeBytes));
    },
    finish: async () => await write(ARCHIVE_END),
  };
}
