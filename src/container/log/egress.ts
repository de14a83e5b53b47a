/**
 * What a container's network refused, written down by whoever owns the container: `egress.log` in its folder, one JSON
 * object a line. A guest can try without end, so a minute has so many lines:
 *
 *     a destination's first refusal in a minute    its line at once, `count` 1
 *     those after it                               one line at the minute's end, `count` of them
 *     more destinations than that                  no line; `untold` of the next line counts them
 */
import { join } from "node:path";
import * as v from "valibot";
import type { Refusal, RefusalSink } from "../../network/policy/refusals.ts";
import { messageOf } from "../../util/error.ts";
import type { LineFormat } from "./reader.ts";
import { RotatingFile } from "./rotating.ts";

/** A destination that a container wanted and was refused. */
export interface EgressEntry extends Refusal {
  /** RFC 3339, milliseconds; of the last one that it counts. */
  readonly time: string;
  /** So many packets or questions; 0 in a line that has only `untold`. */
  readonly count: number;
}

const EGRESS_FILE = "egress.log";
const LIMITS = { maxSizeBytes: 1 << 20, maxFiles: 2 };
const MINUTE_MS = 60_000;
const MAX_A_MINUTE = 20;
/** DNS may call an address whatever it likes. */
const MAX_NAMES = 8;
const MAX_NAME_LENGTH = 255;

const entrySchema = v.object({
  time: v.pipe(v.string(), v.isoTimestamp()),
  protocol: v.picklist(["tcp", "udp", "icmp", "other", "dns"]),
  address: v.string(),
  port: v.number(),
  names: v.array(v.string()),
  reason: v.string(),
  count: v.number(),
  untold: v.number(),
});

function decode(line: Buffer): EgressEntry | undefined {
  try {
    const { success, output } = v.safeParse(entrySchema, JSON.parse(line.toString()));
    return success ? output : undefined;
  } catch {
    return undefined;
  }
}

export const EGRESS_LOG: LineFormat<EgressEntry> = { file: EGRESS_FILE, decode };

type Refused = Omit<Refusal, "untold">;

/** Of those without a line, where no other line comes that could count them. */
const OTHERS: Refused = { protocol: "other", address: "", port: 0, names: [], reason: "too many to list" };

interface Repeated {
  readonly refused: Refused;
  count: number;
  time: string;
}

export interface EgressLogOptions {
  /** Told once: what cannot be written must not end the container. */
  readonly onProblem?: ((message: string) => void) | undefined;
  /** Default: a minute. */
  readonly windowMs?: number | undefined;
}

export class EgressLog implements RefusalSink, AsyncDisposable {
  readonly #file: RotatingFile;
  readonly #onProblem: (message: string) => void;
  readonly #windowMs: number;
  /** Of this minute, with the refusals after the first. */
  readonly #known = new Map<string, Repeated>();
  #untold = 0;
  #timer: NodeJS.Timeout | undefined;
  #last: Promise<void> = Promise.resolve();
  #broken = false;

  /** @param dir the container's; nothing is in it before the first refusal */
  constructor(dir: string, { onProblem = () => {}, windowMs = MINUTE_MS }: EgressLogOptions = {}) {
    this.#file = new RotatingFile(join(dir, EGRESS_FILE), LIMITS);
    this.#onProblem = onProblem;
    this.#windowMs = windowMs;
  }

  add(key: string, describe: () => Refused): void {
    if (this.#broken) return;
    this.#timer ??= setTimeout(() => this.#endMinute(), this.#windowMs).unref();
    const known = this.#known.get(key);
    if (known !== undefined) {
      known.count++;
      known.time = new Date().toISOString();
    } else if (this.#known.size >= MAX_A_MINUTE) {
      this.#untold++;
    } else {
      const { names, ...rest } = describe();
      const called = names.slice(0, MAX_NAMES).map((name) => name.slice(0, MAX_NAME_LENGTH));
      const refused = { ...rest, names: called };
      const time = new Date().toISOString();
      this.#known.set(key, { refused, count: 0, time });
      this.#write({ refused, count: 1, time });
    }
  }

  #endMinute(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const repeated of this.#known.values()) if (repeated.count > 0) this.#write(repeated);
    this.#known.clear();
    if (this.#untold > 0) this.#write({ refused: OTHERS, count: 0, time: new Date().toISOString() });
  }

  #write({ refused, count, time }: Repeated): void {
    const untold = this.#untold;
    this.#untold = 0;
    const line = Buffer.from(`${JSON.stringify({ time, ...refused, count, untold })}\n`);
    this.#last = this.#last.then(async () => await this.#append(line));
  }

  async #append(line: Buffer): Promise<void> {
    if (this.#broken) return;
    try {
      await this.#file.append(line);
    } catch (error) {
      this.#broken = true;
      this.#onProblem(`what the network refuses is written down no more: ${messageOf(error)}`);
    }
  }

  /** Writes what was only counted. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#endMinute();
    await this.#last;
    await this.#file[Symbol.asyncDispose]();
  }
}
