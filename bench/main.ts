/**
 * `npm run bench -- [--list] [--json] [--write] NAME…`: results on stdout, one JSON object a line with --json, a table
 * without; progress on stderr. --write puts them into docs/performance.md, too. Exit code 1 when a goal is missed.
 */
import { parseArgs } from "node:util";
import { writeDocument } from "./document.ts";
import { image } from "./image.ts";
import { monitor } from "./memory.ts";
import { network } from "./network.ts";
import { start } from "./start.ts";
import { streams } from "./streams.ts";
import type { Benchmark, Measurement } from "./measurement.ts";

const benchmarks: readonly Benchmark[] = [image, start, monitor, streams, network];

function row({ name, value, unit, goal, ok, samples }: Measurement): string {
  const verdict = ok ? "ok" : "MISSED";
  return `${name.padEnd(28)} ${String(value).padStart(8)} ${unit.padEnd(6)} goal ${String(goal).padStart(5)}  ${verdict.padEnd(7)} ${samples.join(" ")}`;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
    },
  });
  if (values.list) {
    for (const { name, about } of benchmarks) process.stdout.write(`${name.padEnd(10)} ${about}\n`);
    return 0;
  }
  const wanted = positionals.length > 0 ? positionals : benchmarks.map(({ name }) => name);
  const unknown = wanted.find((name) => !benchmarks.some((benchmark) => benchmark.name === name));
  if (unknown !== undefined) {
    process.stderr.write(`bench: there is no benchmark "${unknown}"; --list shows them\n`);
    return 2;
  }
  let missed = 0;
  const all: Measurement[] = [];
  for (const benchmark of benchmarks.filter(({ name }) => wanted.includes(name))) {
    const say = (line: string): void => void process.stderr.write(`bench ${benchmark.name}: ${line}\n`);
    for (const measurement of await benchmark.run(say)) {
      if (!measurement.ok) missed++;
      all.push(measurement);
      process.stdout.write(`${values.json ? JSON.stringify(measurement) : row(measurement)}\n`);
    }
  }
  if (values.write) await writeDocument(all);
  return missed > 0 ? 1 : 0;
}

process.exitCode = await main();
