/**
 * Assembles an image whose layers are all in the store, again and again: assemble.js REFERENCE HOME COUNT.
 * The metadata image is removed before each time; `pull` finds every layer and builds only that.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { locatePaths, pull } from "flamebox";

const [reference, home, count] = process.argv.slice(2);
if (reference === undefined || home === undefined) throw new Error("usage: assemble.js REFERENCE HOME COUNT");
const paths = locatePaths({ FLAMEBOX_HOME: home });
const rootfsDir = join(paths.dataDir, "rootfs");
const samplesMs: number[] = [];
// One more than counted: the first loads the modules.
for (let i = 0; i <= Number(count); i++) {
  const files = await readdir(rootfsDir);
  if (!files.some((name) => name.endsWith(".erofs"))) throw new Error(`no metadata image in ${rootfsDir}`);
  for (const name of files) await rm(join(rootfsDir, name), { recursive: true });
  const started = performance.now();
  await pull(reference, { paths, dockerConfig: null });
  if (i > 0) samplesMs.push(performance.now() - started);
}
process.stdout.write(JSON.stringify({ samplesMs }));
