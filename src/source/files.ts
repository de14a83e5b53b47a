/**
 * A place that holds images in files of its own naming: a directory, or an archive. Layouts are read through
 * this, so that they need not know which of the two it is.
 */
export interface ImageFiles extends AsyncDisposable {
  /** What to call it in messages. */
  readonly name: string;
  /** The file of this name; undefined when there is none. @throws SourceError `invalid-archive` */
  find(name: string): Promise<ImageFile | undefined>;
}

export interface ImageFile {
  readonly sizeBytes: number;
  /** From the start. The chunks belong to the caller. */
  chunks(signal?: AbortSignal): AsyncIterable<Uint8Array>;
}
