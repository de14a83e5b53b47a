/** A session with a container that is here: `attach`, and `start -a`. Whether it has a terminal is its own affair. */
import { firecrackerFrom, pathsFrom } from "../args/access.ts";
import type { CliContext } from "../context.ts";
import type { AttachedContainer, Library, OperationOptions } from "../library.ts";
import { createReporter } from "../output/reporter.ts";
import type { Settings } from "../settings.ts";
import { parseDetachKeys } from "./detach-keys.ts";
import { partnerOf } from "./run-session.ts";
import { holdSession } from "./session.ts";

export interface AttachPlan {
  readonly name: string;
  readonly interactive?: boolean;
  readonly detachKeys?: string;
  readonly forwardsSignals?: boolean;
  readonly open: (library: Library, options: OperationOptions) => Promise<AttachedContainer>;
}

export async function attachSession(
  context: CliContext,
  settings: Settings,
  { name, interactive = false, detachKeys, forwardsSignals = true, open }: AttachPlan,
): Promise<void> {
  const library = await context.loadLibrary();
  const reporter = createReporter(context, settings);
  const { onProgress, onNotice } = reporter;
  const options = {
    paths: pathsFrom(context.env, library),
    ...firecrackerFrom(context.env),
    onProgress,
    onNotice,
  };
  const { options: made } = await library.inspectContainer(name, options);
  const manner = {
    interactive,
    tty: made.tty !== undefined,
    forwardsSignals,
    ...(detachKeys === undefined ? {} : { detachKeys: parseDetachKeys(detachKeys) }),
  };
  try {
    const partner = async (signal: AbortSignal) => partnerOf(await open(library, { ...options, signal }));
    context.outcome.exitCode = await holdSession(context, partner, manner, { reporter });
  } finally {
    reporter.stop();
  }
}
