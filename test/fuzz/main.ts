/**
 * `npm run fuzz -- TARGET… [--runs N] [--seed S] [--unguided] [--list]`: each target for N inputs (100,000), steered by
 * which code they reach. Says how many there were; a failing input is written to .cache/fuzz-failures/ and ends it with
 * exit code 1. `--input FILE` checks one such file.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Coverage } from "./coverage.ts";
import { runTarget } from "./run.ts";
import type { FuzzTarget } from "./target.ts";
import { TARGETS } from "./targets/all.ts";

const FAILURES = join(".cache", "fuzz-failures");
const TELL_EVERY_MS = 10_000;
const say = (line: string): void => void process.stderr.write(`fuzz ${line}\n`);

function isOurs(url: string): boolean {
  return url.includes("/.cache/fuzz/src/");
}

async function fuzz(target: FuzzTarget, runs: number, seed: number, guided: boolean): Promise<boolean> {
  using coverage = guided ? new Coverage(isOurs) : undefined;
  const started = performance.now();
  let told = started;
  const onProgress = (done: number, corpusSize: number): void => {
    if (performance.now() - told < TELL_EVERY_MS) return;
    told = performance.now();
    say(`${target.name}: ${done} runs, ${corpusSize} in the corpus`);
  };
  const result = await runTarget(target, { runs, seed, coverage, onProgress });
  const seconds = (performance.now() - started) / 1000;
  const line = {
    target: target.name,
    seed,
    runs: result.runs,
    seconds: Math.round(seconds),
    corpus: result.corpusSize,
  };
  process.stdout.write(`${JSON.stringify({ ...line, failed: result.failure !== undefined })}\n`);
  if (result.failure === undefined) return true;
  const { input, error } = result.failure;
  await mkdir(FAILURES, { recursive: true });
  const path = join(
    FAILURES,
    `${target.name}-${createHash("sha256").update(input).digest("hex").slice(0, 16)}`,
  );
  await writeFile(path, input);
  say(`${target.name} failed on ${path}: ${error instanceof Error ? error.stack : String(error)}`);
  return false;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: "string", default: "100000" },
      seed: { type: "string", default: "1" },
      input: { type: "string" },
      unguided: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
    },
  });
  const names = TARGETS.map(({ name }) => name);
  if (values.list) {
    process.stdout.write(`${names.join("\n")}\n`);
    return 0;
  }
  const unknown = positionals.find((name) => !names.includes(name));
  const [runs, seed] = [Number(values.runs), Number(values.seed)];
  if (positionals.length === 0 || unknown !== undefined || !(runs > 0) || !Number.isSafeInteger(seed)) {
    say(
      `usage: npm run fuzz -- TARGET… [--runs N] [--seed S] [--unguided] [--input FILE]; targets: ${names.join(" ")}`,
    );
    return 2;
  }
  let ok = true;
  for (const target of TARGETS.filter(({ name }) => positionals.includes(name))) {
    if (values.input === undefined) ok = (await fuzz(target, runs, seed, !values.unguided)) && ok;
    else await target.check(await readFile(values.input));
  }
  return ok ? 0 : 1;
}

process.exitCode = await main();
