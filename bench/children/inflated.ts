/** What the given gzip files are inflated: inflated.js FILE… prints the size and SHA-256 of each. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";

const results: { bytes: number; digest: string }[] = [];
for (const path of process.argv.slice(2)) {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(path).pipe(createGunzip({ chunkSize: 1 << 20 }))) {
    bytes += (chunk as Uint8Array).length;
    hash.update(chunk as Uint8Array);
  }
  results.push({ bytes, digest: hash.digest("hex") });
}
process.stdout.write(JSON.stringify({ results }));
