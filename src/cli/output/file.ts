/** A file that appears when it is complete: written beside its place, and renamed into it. */
import { createWriteStream as open } from "node:fs";
import { rename, rm } from "node:fs/promises";
import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";

export interface OutputFile {
  readonly stream: Writable;
  /** Everything has been written. */
  keep(): Promise<void>;
  /** Of one that is not kept nothing is left. */
  discard(): Promise<void>;
}

export function createWriteStream(path: string): OutputFile {
  const temporary = `${path}.${process.pid}.part`;
  const stream = open(temporary, { flags: "wx", mode: 0o600, flush: true });
  stream.on("error", () => {});
  return {
    stream,
    keep: async () => {
      stream.end();
      await finished(stream);
      await rename(temporary, path);
    },
    discard: async () => {
      stream.destroy();
      await rm(temporary, { force: true });
    },
  };
}
