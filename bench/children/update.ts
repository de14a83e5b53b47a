/**
 * Pulls an image all of whose layers but the last are here, again and again: update.js REFERENCE HOME COUNT. It is
 * removed after each time. Counts the bytes of layers that were fetched.
 */
import { locatePaths, pull, removeImage } from "flamebox";

const [reference, home, count] = process.argv.slice(2);
if (reference === undefined || home === undefined) throw new Error("usage: update.js REFERENCE HOME COUNT");
const paths = locatePaths({ FLAMEBOX_HOME: home });
const samplesMs: number[] = [];
let fetchedBytes = 0;
// One more than counted: the first loads the modules.
for (let i = 0; i <= Number(count); i++) {
  const fetched = new Map<string, number>();
  const started = performance.now();
  await pull(reference, {
    paths,
    dockerConfig: null,
    onProgress: ({ id, state, current = 0 }) => {
      if (id.startsWith("layer:") && state === "running")
        fetched.set(id, Math.max(current, fetched.get(id) ?? 0));
    },
  });
  if (i > 0) samplesMs.push(performance.now() - started);
  fetchedBytes = [...fetched.values()].reduce((sum, bytes) => sum + bytes, 0);
  await removeImage(reference, { paths });
}
process.stdout.write(JSON.stringify({ samplesMs, fetchedBytes }));
