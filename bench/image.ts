/**
 * An image on its way from a registry to a root file system, beside the least that any program has to do for
 * it: inflating its layers.
 *
 *   floor      node:zlib inflates the layer files with 1 MiB chunks, output dropped
 *   pull       registry on loopback ─► layers converted, both digests verified ─► metadata image
 *   assembly   all layers in the store ─► metadata image
 *
 * Floor and pull take turns, each in a fresh process; the disk is synced before each, so that none pays for
 * the writes of the one before.
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { layout, repository } from "../test/support/images/layouts.ts";
import { startRegistry } from "../test/support/registry.ts";
import { measureIn, numberOf, numbersOf } from "./children/spawn.ts";
import { largest, ratio } from "./measurement.ts";
import type { Benchmark, Measurement } from "./measurement.ts";

const SAMPLES = 5;
const NAME = "bench/big:1";

interface Descriptor {
  readonly digest: string;
  readonly size: number;
}

async function readBlob<T>(dir: string, digest: string): Promise<T> {
  return JSON.parse(await readFile(blobPath(dir, digest), "utf8")) as T;
}

function blobPath(dir: string, digest: string): string {
  return join(dir, "blobs", ...digest.split(":"));
}

async function layersOf(dir: string): Promise<Descriptor[]> {
  const index = JSON.parse(await readFile(join(dir, "index.json"), "utf8")) as { manifests: Descriptor[] };
  const [only] = index.manifests;
  if (only === undefined) throw new Error(`${dir} has no image`);
  return (await readBlob<{ layers: Descriptor[] }>(dir, only.digest)).layers;
}

async function settle(): Promise<void> {
  await promisify(execFile)("sync");
}

interface Samples {
  readonly floorMs: number[];
  readonly pullMs: number[];
  readonly peakRssMb: number[];
  assemblyMs: number[];
}

/** One turn: floor, then pull into an empty home. The home of the last turn also serves the assembly. */
async function takeTurn(
  turn: number,
  layerFiles: readonly string[],
  reference: string,
  samples: Samples,
  say: (line: string) => void,
): Promise<void> {
  await settle();
  const floor = numberOf(await measureIn("gunzip.js", layerFiles), "wallMs");
  await mkdir(join(repository, ".cache"), { recursive: true });
  const home = await mkdtemp(join(repository, ".cache", "bench-home-"));
  try {
    await settle();
    const pulled = await measureIn("pull.js", [reference, home]);
    const pullMs = numberOf(pulled, "wallMs");
    const rss = numberOf(pulled, "peakRssMb");
    const which = turn === 0 ? "warm-up" : `sample ${turn}`;
    say(
      `${which}: gunzip ${floor.toFixed(0)} ms, pull ${pullMs.toFixed(0)} ms, peak RSS ${rss.toFixed(0)} MB`,
    );
    if (turn > 0) {
      samples.floorMs.push(floor);
      samples.pullMs.push(pullMs);
      samples.peakRssMb.push(rss);
    }
    if (turn === SAMPLES) {
      await settle();
      const assembled = await measureIn("assemble.js", [reference, home, String(SAMPLES)]);
      samples.assemblyMs = numbersOf(assembled, "samplesMs");
      say(`assembly: ${samples.assemblyMs.map((ms) => ms.toFixed(0)).join(", ")} ms`);
    }
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function run(say: (line: string) => void): Promise<Measurement[]> {
  say("the image (made once, some minutes)");
  const { dir, tag } = await layout("big");
  const layers = await layersOf(dir);
  const layerFiles = layers.map(({ digest }) => blobPath(dir, digest));
  await using registry = await startRegistry();
  await registry.push(dir, tag, NAME);
  const compressedMb = layers.reduce((sum, { size }) => sum + size, 0) / 1e6;
  say(`${layers.length} layers, ${compressedMb.toFixed(0)} MB compressed`);
  const samples: Samples = { floorMs: [], pullMs: [], peakRssMb: [], assemblyMs: [] };
  for (let turn = 0; turn <= SAMPLES; turn++) {
    await takeTurn(turn, layerFiles, `${registry.host}/${NAME}`, samples, say);
  }
  return [
    ratio("image.pull_convert", 1.6, samples.pullMs, samples.floorMs),
    largest("image.peak_rss_mb", 250, samples.peakRssMb),
    ratio("image.cached_assembly", 0.3, samples.assemblyMs, samples.floorMs),
  ];
}

export const image: Benchmark = {
  name: "image",
  about: "pull from a loopback registry and convert, against gunzip of the same layers",
  run,
};
