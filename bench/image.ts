/**
 * An image on its way from a registry to a root file system, beside the least that any program has to do for
 * it: inflating its layers.
 *
 *   floor        node:zlib inflates the layer files with 1 MiB chunks, output dropped
 *   pull         registry on loopback ─► layers converted, both digests verified ─► metadata image
 *   unverified   the same without hashing
 *   zstd         the same with layers in zstd, beside the quickest decoder that is here
 *   assembly     all layers in the store ─► metadata image
 *   new layer    one more layer on an image that is here, beside inflating it and the assembly
 *
 * Floors and pulls take turns, each in a fresh process; the disk is synced before each, so that none pays for
 * the writes of the one before. skopeo and umoci do the whole once.
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { layout, repository } from "../test/support/images/layouts.ts";
import { startRegistry } from "../test/support/registry.ts";
import type { TestRegistry } from "../test/support/registry.ts";
import { measureIn, numberOf, numbersOf } from "./children/spawn.ts";
import type { ChildOptions } from "./children/spawn.ts";
import { blobPath, manifestOf, updatedLayout, zstdLayout } from "./image-layouts.ts";
import { compare, largest, median, ratio } from "./measurement.ts";
import type { Benchmark, Measurement } from "./measurement.ts";

const SAMPLES = 5;
const NAME = "bench/big:1";
const ZSTD_NAME = "bench/big-zstd:1";
const UPDATED_NAME = "bench/big:2";

const run = promisify(execFile);
type Say = (line: string) => void;

interface Images {
  readonly registry: TestRegistry;
  /** Of the six layers, as they are in the layout. */
  readonly gzipFiles: readonly string[];
  readonly zstdFiles: readonly string[];
  readonly newLayer: { readonly file: string; readonly sizeBytes: number };
  /** What children/unverified.ts needs. */
  readonly digests: Readonly<Record<string, string>>;
}

interface Samples {
  readonly floorMs: number[];
  readonly pullMs: number[];
  readonly unverifiedMs: number[];
  readonly zstdFloorMs: number[];
  readonly zstdMs: number[];
  readonly peakRssMb: number[];
  readonly newFloorMs: number[];
  assemblyMs: number[];
  updateMs: number[];
  fetchedBytes: number;
}

async function settle(): Promise<void> {
  await run("sync");
}

async function timed(job: () => Promise<unknown>): Promise<number> {
  await settle();
  const started = performance.now();
  await job();
  return performance.now() - started;
}

async function withHome<T>(job: (home: string) => Promise<T>): Promise<T> {
  await mkdir(join(repository, ".cache"), { recursive: true });
  const home = await mkdtemp(join(repository, ".cache", "bench-home-"));
  try {
    return await job(home);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function pullInto(
  home: string,
  reference: string,
  options: ChildOptions = {},
): Promise<{ readonly ms: number; readonly rssMb: number }> {
  await settle();
  const pulled = await measureIn("pull.js", [reference, home], options);
  return { ms: numberOf(pulled, "wallMs"), rssMb: numberOf(pulled, "peakRssMb") };
}

async function gunzip(files: readonly string[]): Promise<number> {
  await settle();
  return numberOf(await measureIn("gunzip.js", files), "wallMs");
}

/** The quickest decoder that is here: the program, or node:zlib where that has zstd. */
async function unzstd(files: readonly string[]): Promise<number> {
  const program = await timed(() =>
    run("sh", ["-c", 'for f; do zstd -dcq "$f"; done >/dev/null', "sh", ...files]),
  );
  await settle();
  const { wallMs } = await measureIn("unzstd.js", files);
  return typeof wallMs === "number" ? Math.min(program, wallMs) : program;
}

/** One turn of everything. The home of the last pull also serves the assembly and the update. */
async function takeTurn(turn: number, images: Images, samples: Samples, say: Say): Promise<void> {
  const at = (name: string): string => `${images.registry.host}/${name}`;
  const floor = await gunzip(images.gzipFiles);
  const zstdFloor = await unzstd(images.zstdFiles);
  const newFloor = await gunzip([images.newLayer.file]);
  const unverified = await withHome(
    async (home) =>
      await pullInto(home, at(NAME), {
        preload: "unverified.js",
        env: { DIGESTS: JSON.stringify(images.digests) },
      }),
  );
  const zstd = await withHome(async (home) => await pullInto(home, at(ZSTD_NAME)));
  await withHome(async (home) => {
    const pulled = await pullInto(home, at(NAME));
    const which = turn === 0 ? "warm-up" : `sample ${turn}`;
    const ms = (value: number): string => `${value.toFixed(0)} ms`;
    say(
      `${which}: gunzip ${ms(floor)}, pull ${ms(pulled.ms)}, unverified ${ms(unverified.ms)}, peak RSS ${pulled.rssMb.toFixed(0)} MB; unzstd ${ms(zstdFloor)}, pull ${ms(zstd.ms)}`,
    );
    if (turn > 0) {
      samples.floorMs.push(floor);
      samples.newFloorMs.push(newFloor);
      samples.zstdFloorMs.push(zstdFloor);
      samples.pullMs.push(pulled.ms);
      samples.unverifiedMs.push(unverified.ms);
      samples.zstdMs.push(zstd.ms);
      samples.peakRssMb.push(pulled.rssMb);
    }
    if (turn < SAMPLES) return;
    await settle();
    const assembled = await measureIn("assemble.js", [at(NAME), home, String(SAMPLES)]);
    samples.assemblyMs = numbersOf(assembled, "samplesMs");
    await settle();
    const updated = await measureIn("update.js", [at(UPDATED_NAME), home, String(SAMPLES)]);
    samples.updateMs = numbersOf(updated, "samplesMs");
    samples.fetchedBytes = numberOf(updated, "fetchedBytes");
    say(
      `assembly: ${samples.assemblyMs.map(ms).join(", ")}; a new layer: ${samples.updateMs.map(ms).join(", ")}`,
    );
  });
}

/** What others take for the same: the image from the registry to a directory. */
async function skopeoAndUmoci(registry: TestRegistry, say: Say): Promise<number> {
  return await withHome(async (dir) => {
    const oci = join(dir, "oci");
    const from = `docker://${registry.host}/${NAME}`;
    const copy = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", from, `oci:${oci}:1`];
    const copyMs = await timed(() => run("skopeo", copy));
    const unpackMs = await timed(() => run("umoci", ["unpack", "--image", `${oci}:1`, join(dir, "bundle")]));
    say(`skopeo ${copyMs.toFixed(0)} ms, umoci ${unpackMs.toFixed(0)} ms`);
    return copyMs + unpackMs;
  });
}

async function prepare(registry: TestRegistry, say: Say): Promise<Images> {
  say("the images (made once, some minutes)");
  const { dir, tag } = await layout("big");
  const [zstdDir, updatedDir] = [await zstdLayout(dir), await updatedLayout(dir)];
  await registry.push(dir, tag, NAME);
  await registry.push(zstdDir, "1", ZSTD_NAME);
  await registry.push(updatedDir, "2", UPDATED_NAME);
  const [{ layers }, zstd, updated] = [
    await manifestOf(dir, tag),
    await manifestOf(zstdDir),
    await manifestOf(updatedDir, "2"),
  ];
  const gzipFiles = layers.map(({ digest }) => blobPath(dir, digest));
  const { results } = (await measureIn("inflated.js", gzipFiles)) as {
    results: { bytes: number; digest: string }[];
  };
  const sized = [
    ...layers.map(({ size, digest }) => [size, digest.slice(7)] as const),
    ...results.map(({ bytes, digest }) => [bytes, digest] as const),
  ];
  const top = updated.layers.at(-1);
  if (top === undefined) throw new Error("the updated image has no layers");
  const megabytes = (layers.reduce((sum, { size }) => sum + size, 0) / 1e6).toFixed(0);
  say(`${layers.length} layers, ${megabytes} MB compressed; the new one ${(top.size / 1e6).toFixed(1)} MB`);
  return {
    registry,
    gzipFiles,
    zstdFiles: zstd.layers.map(({ digest }) => blobPath(zstdDir, digest)),
    newLayer: { file: blobPath(updatedDir, top.digest), sizeBytes: top.size },
    digests: Object.fromEntries(sized),
  };
}

async function measure(say: Say): Promise<Measurement[]> {
  await using registry = await startRegistry();
  const images = await prepare(registry, say);
  const samples: Samples = {
    floorMs: [],
    pullMs: [],
    unverifiedMs: [],
    zstdFloorMs: [],
    zstdMs: [],
    peakRssMb: [],
    newFloorMs: [],
    assemblyMs: [],
    updateMs: [],
    fetchedBytes: 0,
  };
  for (let turn = 0; turn <= SAMPLES; turn++) await takeTurn(turn, images, samples, say);
  const othersMs = await skopeoAndUmoci(registry, say);
  const ownMs = median(samples.newFloorMs) + median(samples.assemblyMs);
  const fetched = samples.fetchedBytes / images.newLayer.sizeBytes;
  return [
    compare("image.pull_convert", 1.5, samples.pullMs, samples.floorMs),
    compare("image.pull_convert_unverified", 1.3, samples.unverifiedMs, samples.floorMs),
    largest("image.peak_rss_mb", 200, samples.peakRssMb),
    ratio("image.cached_assembly", 0.25, samples.assemblyMs, samples.floorMs),
    compare("image.new_layer", 1.5, samples.updateMs, [ownMs]),
    {
      name: "image.new_layer_fetched",
      value: fetched,
      unit: "ratio",
      goal: 1,
      ok: fetched <= 1,
      samples: [fetched],
    },
    compare("image.pull_convert_zstd", 1.5, samples.zstdMs, samples.zstdFloorMs),
    compare("image.vs_skopeo_umoci", 1, samples.pullMs, [othersMs]),
  ];
}

export const image: Benchmark = {
  name: "image",
  about: "pull from a loopback registry and convert, against gunzip of the same layers",
  run: measure,
};
