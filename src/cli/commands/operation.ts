/** The frame of a command that asks the library for one thing and prints the answer. */
import type { CliContext } from "../context.ts";
import { firecrackerFrom, pathsFrom } from "../args/access.ts";
import type { Library, OperationOptions } from "../library.ts";
import { createReporter, type Reporter } from "../output/reporter.ts";
import type { Settings } from "../settings.ts";
import { interruptible } from "../signals.ts";

export interface Operation {
  readonly library: Library;
  /** To be spread into the library's options. */
  readonly options: OperationOptions;
  readonly reporter: Reporter;
}

/** Loads the library, and lets a signal abort the job. Progress is gone when this returns or throws. */
export async function operate<T>(
  context: CliContext,
  settings: Settings,
  job: (operation: Operation) => Promise<T>,
): Promise<T> {
  const library = await context.loadLibrary();
  const reporter = createReporter(context, settings);
  const paths = pathsFrom(context.env, library);
  const firecracker = firecrackerFrom(context.env);
  const { onProgress, onNotice } = reporter;
  try {
    const result = await interruptible(context, (signal) =>
      job({ library, reporter, options: { paths, signal, onProgress, onNotice, ...firecracker } }),
    );
    reporter.stop({ summary: true });
    return result;
  } finally {
    reporter.stop();
  }
}
