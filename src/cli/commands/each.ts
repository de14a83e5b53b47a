/** Commands that do one thing to each of several containers: one that fails does not keep the others. */
import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { AlreadyReported, describeFailure, Interrupted, renderFailure, UsageError } from "../failure.ts";
import { settingsOf } from "../settings.ts";
import type { Operation } from "./operation.ts";

/**
 * @param given names, or what finds them
 * @param job what is printed for the container; undefined prints nothing
 * @param atOnce so many side by side
 */
export async function forEachContainer(
  context: CliContext,
  command: Command,
  given: readonly string[] | ((operation: Operation) => Promise<readonly string[]>),
  job: (operation: Operation, name: string) => Promise<string | undefined>,
  atOnce = Number.POSITIVE_INFINITY,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  if (settings.format !== undefined) throw new UsageError(`--format is of no use to ${command.name()}`);
  const done: string[] = [];
  let failed = false;
  await operate(context, settings, async (operation) => {
    const one = async (name: string): Promise<void> => {
      try {
        const said = await job(operation, name);
        if (said === undefined) return;
        if (settings.json) done.push(said);
        else await print(context, `${said}\n`);
      } catch (error) {
        if (error instanceof Interrupted || operation.options.signal?.aborted === true) throw error;
        failed = true;
        const failure = describeFailure(error, command.name());
        const style = { json: settings.json, debug: settings.logLevel === "debug" };
        context.stderr.write(renderFailure(failure, error, style));
      }
    };
    const waiting = typeof given === "function" ? [...(await given(operation))] : [...given];
    const work = async (): Promise<void> => {
      for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) await one(name);
    };
    // Side by side: most of the time is spent waiting for their ends.
    await Promise.all(Array.from({ length: Math.min(atOnce, waiting.length) }, work));
  });
  if (settings.json) await print(context, toJson(done));
  if (failed) throw new AlreadyReported();
}
