/**
 * Progress is an event; only the command line draws.
 *
 * A long step reports any number of events under one `id`, the last of which has a state other than
 * `running`. Events may be dropped by the receiver; they never carry results.
 */
export interface ProgressEvent {
  /** Unique within one operation: `layer:sha256:…`, `kernel`, `boot`. */
  readonly id: string;
  /** What a person reads: `layer 3f2a9c`, `kernel 6.12`. Printable, bounded, no control characters. */
  readonly label: string;
  readonly state: "running" | "done" | "cached" | "failed";
  /** Done so far and in all, in `unit`. `total` is absent while it is unknown. */
  readonly current?: number;
  readonly total?: number;
  readonly unit?: "bytes" | "steps";
  /** A remark for one line: `retry 2 after connection reset`. */
  readonly note?: string;
}

/** Told of each step as it goes on. It must not throw. */
export type OnProgress = (event: ProgressEvent) => void;

export const silent: OnProgress = () => {};
