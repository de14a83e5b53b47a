/** Lines of a stream between two processes of ours. What breaks it off ends it: whoever reads then finds too little. */
import type { Readable } from "node:stream";

const MAX_LINE_BYTES = 1 << 20;
const LINE_FEED = 0x0a;

export async function* linesOf(source: Readable): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      rest = Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf(LINE_FEED); end !== -1; end = rest.indexOf(LINE_FEED)) {
        yield rest.toString("utf8", 0, end);
        rest = rest.subarray(end + 1);
      }
      if (rest.length > MAX_LINE_BYTES) return;
    }
  } catch {
    // The other process has gone.
  }
}
