/**
 * Firecracker's standard output has both: what the guest writes to its console, and Firecracker's own log, a line
 * each, which begins with a time and `[ID:thread]`. The id is a secret of the two processes, so a guest cannot write
 * what looks like a complaint of the VMM's.
 */
import { TailBuffer } from "../tail-buffer.ts";

const CONSOLE_BYTES = 64 * 1024;
const LOG_BYTES = 16 * 1024;
/** A guest may write without ever ending a line. */
const MAX_LINE_BYTES = 8 * 1024;
const LINE_FEED = 0x0a;

export class Output {
  readonly #mark: Buffer;
  readonly #console = new TailBuffer(CONSOLE_BYTES);
  readonly #log = new TailBuffer(LOG_BYTES);
  #rest: Buffer = Buffer.alloc(0);

  constructor(id: string) {
    this.#mark = Buffer.from(` [${id}:`);
  }

  write(chunk: Buffer): void {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (let end = data.indexOf(LINE_FEED); end >= 0; end = data.indexOf(LINE_FEED)) {
      this.#line(data.subarray(0, end + 1));
      data = data.subarray(end + 1);
    }
    if (data.length > MAX_LINE_BYTES) {
      this.#line(data);
      data = Buffer.alloc(0);
    }
    this.#rest = Buffer.from(data);
  }

  #line(line: Buffer): void {
    const at = line.indexOf(this.#mark);
    if (at < 0) return this.#console.write(line);
    // The log may begin in the middle of a line of the guest's: a time in front of the mark has no blank in it.
    const start = line.lastIndexOf(0x20, at - 1) + 1;
    if (start > 0) this.#console.write(line.subarray(0, start));
    this.#log.write(line.subarray(at + this.#mark.length - 1));
  }

  /** The end of what the guest wrote. */
  console(): string {
    return this.#console.toString() + this.#rest.toString("utf8");
  }

  /** The end of what Firecracker logged. */
  log(): string {
    return this.#log.toString();
  }
}
