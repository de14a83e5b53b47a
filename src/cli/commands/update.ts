import type { Command } from "commander";
import { parseRestart } from "../args/lifecycle.ts";
import { parseCount, parseCpus, parseMemoryMib, parseSize, parseSizeOrUnlimited } from "../args/size.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { UpdateOptions } from "../library.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";

interface UpdateFlags {
  readonly restart?: string;
  readonly cpus?: string;
  readonly cpuPeriod?: string;
  readonly cpuQuota?: string;
  readonly cpuShares?: string;
  readonly cpusetCpus?: string;
  readonly memory?: string;
  readonly memoryReservation?: string;
  readonly memorySwap?: string;
  readonly pidsLimit?: string;
}

function changeOf(flags: UpdateFlags): UpdateOptions {
  const { restart, cpus, cpuPeriod, cpuQuota, cpuShares, cpusetCpus } = flags;
  const { memory, memoryReservation, memorySwap, pidsLimit } = flags;
  return {
    ...(restart !== undefined && { restart: parseRestart(restart) }),
    ...(cpus !== undefined && { cpus: parseCpus(cpus) }),
    ...(cpuPeriod !== undefined && { cpuPeriodUs: parseCount(cpuPeriod, "--cpu-period") }),
    ...(cpuQuota !== undefined && { cpuQuotaUs: parseCount(cpuQuota, "--cpu-quota") }),
    ...(cpusetCpus !== undefined && { cpusetCpus }),
    ...(cpuShares !== undefined && { cpuShares: parseCount(cpuShares, "--cpu-shares") }),
    ...(memory !== undefined && { memoryMib: parseMemoryMib(memory) }),
    ...(memoryReservation !== undefined && {
      memoryReservationBytes: parseSize(memoryReservation, "--memory-reservation"),
    }),
    ...(memorySwap !== undefined && { memorySwapBytes: parseSizeOrUnlimited(memorySwap, "--memory-swap") }),
    ...(pidsLimit !== undefined && { pidsLimit: parseCount(pidsLimit, "--pids-limit", -1) }),
  };
}

/** Defines `update`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Change what containers were made with.")
    .argument("<container...>", "names or ids")
    .option("--restart <policy>", "no, on-failure[:TIMES], always, unless-stopped")
    .option("--cpus <count>", "as run's; of one that runs, at most its machine's")
    .option("--cpu-period <microseconds>", "as run's; takes the place of --cpus")
    .option("--cpu-quota <microseconds>", "as run's; takes the place of --cpus")
    .option("--cpuset-cpus <list>", "as run's, from the next start on")
    .option("-c, --cpu-shares <weight>", "as run's; 0 is the default")
    .option("-m, --memory <size>", "as run's; of one that runs, at most what it was started with")
    .option("--memory-reservation <size>", "as run's")
    .option("--memory-swap <size>", "as run's: at least what --memory is")
    .option("--pids-limit <count>", "as run's; -1 is no limit");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox update --restart unless-stopped web", "from now on it is started again"],
      ["flamebox update --cpus 0.5 --pids-limit 100 web", "at once, while it runs"],
      ["flamebox update -m 2g db", "if its machine has less, with its next start; it says so"],
    ],
    notes: [
      "A container that runs has its limits at once, as far as its machine goes: that has the CPUs and the memory " +
        "that the container was started with. What is beyond them it has from its next start on, and a line says so. " +
        "One that does not run has all of it from its next start on.",
      "Less memory than a container holds is refused, and nothing is changed.",
    ],
  });
  command.action(async (names: string[]) => {
    const change = changeOf(command.opts<UpdateFlags>());
    if (Object.keys(change).length === 0)
      throw new UsageError("there is nothing to change", "give --restart, --memory, --cpus or another limit");
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      await library.updateContainer(name, { ...options, ...change });
      return name;
    });
  });
}
