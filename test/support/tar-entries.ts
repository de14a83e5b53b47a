/** What an archive holds, collected: entries with their data put together. */
import type { TarEntry } from "../../src/formats/tar/format.ts";
import { TarReader, type TarReaderOptions } from "../../src/formats/tar/reader.ts";

export interface CollectedEntry {
  readonly entry: TarEntry;
  readonly name: string;
  readonly linkName: string;
  /** The stored runs, each where it belongs. */
  readonly runs: readonly { readonly position: number; readonly data: Buffer }[];
}

/** Reads `archive` in chunks of the given sizes (repeating), or in one. */
export function collect(
  archive: Uint8Array,
  chunkSizes: readonly number[] = [archive.length || 1],
  options: TarReaderOptions = {},
): CollectedEntry[] {
  const entries: CollectedEntry[] = [];
  let runs: { position: number; data: Buffer }[] = [];
  const reader = new TarReader(
    {
      entry(entry) {
        runs = [];
        const [name, linkName] = [entry.name, entry.linkName].map((x) => Buffer.from(x).toString("latin1"));
        entries.push({ entry: { ...entry }, name: name as string, linkName: linkName as string, runs });
      },
      data(chunk, start, end, position) {
        const last = runs.at(-1);
        const data = Buffer.from(chunk.subarray(start, end));
        if (last && last.position + last.data.length === position)
          last.data = Buffer.concat([last.data, data]);
        else runs.push({ position, data });
      },
      endEntry() {},
    },
    options,
  );
  for (let at = 0, i = 0; at < archive.length; i++) {
    const size = chunkSizes[i % chunkSizes.length] as number;
    reader.push(archive.subarray(at, at + size));
    at += size;
  }
  reader.finish();
  return entries;
}

/** A file as it is unpacked, holes as zeros. */
export function contentOf(collected: CollectedEntry): Buffer {
  const content = Buffer.alloc(collected.entry.sizeBytes);
  for (const { position, data } of collected.runs) data.copy(content, position);
  return content;
}
