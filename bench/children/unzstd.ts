/** The floor of zstd: decompresses the given files with node:zlib and drops the output; wallMs is null without it. */
import { createReadStream } from "node:fs";
import { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as zlib from "node:zlib";

const MIB = 1024 * 1024;
const { createZstdDecompress } = zlib as {
  readonly createZstdDecompress?: (options: object) => NodeJS.ReadWriteStream;
};
const started = performance.now();
if (createZstdDecompress !== undefined) {
  for (const path of process.argv.slice(2)) {
    const drop = new Writable({ write: (_chunk, _encoding, done) => done() });
    const source = createReadStream(path, { highWaterMark: MIB });
    await pipeline(source, createZstdDecompress({ chunkSize: MIB }), drop);
  }
}
const wallMs = createZstdDecompress === undefined ? null : performance.now() - started;
process.stdout.write(JSON.stringify({ wallMs }));
