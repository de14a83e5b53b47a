/** A session with a new container, or with one that is started again. */
import type { CliContext } from "../context.ts";
import type { AttachedContainer, CreateOptions, Health, Library } from "../library.ts";
import type { Reporter } from "../output/reporter.ts";
import type { Manner, Partner } from "./session.ts";
import { holdSession, terminalKind, terminalSize } from "./session.ts";

export interface SessionPlan extends Manner {
  readonly image: string;
  readonly options: CreateOptions;
}

/** What the last check said is of interest when it failed. */
function healthLine({ status, failingStreak, log }: Health): string {
  const last = log.at(-1);
  if (status !== "unhealthy" || last === undefined) return `health: ${status}`;
  const said = last.output.trim();
  return `health: ${status} after ${failingStreak} failed checks, exit code ${last.exitCode}${said && `: ${said}`}`;
}

function describeStart(container: AttachedContainer, reporter: Reporter, asked: CreateOptions): void {
  const { id, name, machine, kernelRelease, bootRetries } = container;
  reporter.debug(`container ${id} (${name}) runs in ${machine}, kernel ${kernelRelease}`);
  if (bootRetries > 0) reporter.debug(`the boot was repeated: ${bootRetries}`);
  if (asked.publishAll !== true && !(asked.publish ?? []).some((mapping) => mapping.hostPort === 0)) return;
  for (const { hostAddress, hostPort, containerPort, protocol } of container.ports) {
    const address = hostAddress?.includes(":") === true ? `[${hostAddress}]` : (hostAddress ?? "127.0.0.1");
    reporter.inform(`published ${address}:${hostPort} -> ${containerPort}/${protocol}`);
  }
}

export function partnerOf(container: AttachedContainer): AttachedContainer & Partner {
  if (!container.survives) return container;
  const farewell = `left ${container.name}, which goes on; flamebox attach ${container.name} comes back to it`;
  return { ...container, farewell };
}

export interface SessionHooks {
  readonly reporter: Reporter;
  readonly onStarted?: (container: AttachedContainer) => void;
}

export async function runSession(
  context: CliContext,
  library: Pick<Library, "runContainer">,
  plan: SessionPlan,
  { reporter, onStarted }: SessionHooks,
): Promise<number> {
  const { image, options, tty, interactive } = plan;
  const term = tty ? terminalKind(context) : undefined;
  const open = async (signal: AbortSignal) =>
    partnerOf(
      await library.runContainer(image, {
        ...options,
        ...(tty ? { tty: terminalSize(context) } : {}),
        ...(term === undefined ? {} : { term }),
        // Whoever can be left must have somebody else to run it.
        detachable: tty && interactive,
        signal,
        onProgress: reporter.onProgress,
        onNotice: reporter.onNotice,
        onHealth: (health) => reporter.inform(healthLine(health)),
      }),
    );
  const onOpen = (container: AttachedContainer) => {
    onStarted?.(container);
    describeStart(container, reporter, options);
  };
  return await holdSession(context, open, plan, { reporter, onOpen });
}
