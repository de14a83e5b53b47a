/** The floor of a conversion: inflates the given files one after the other with node:zlib and drops the output. */
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { Writable } from "node:stream";
import { createGunzip } from "node:zlib";

const MIB = 1024 * 1024;
let outputBytes = 0;
const started = performance.now();
for (const path of process.argv.slice(2)) {
  const drop = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      outputBytes += chunk.length;
      done();
    },
  });
  await pipeline(createReadStream(path, { highWaterMark: MIB }), createGunzip({ chunkSize: MIB }), drop);
}
process.stdout.write(JSON.stringify({ wallMs: performance.now() - started, outputBytes }));
