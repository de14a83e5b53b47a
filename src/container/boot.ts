/**
 * From a machine's configuration to an agent that has answered, under a watchdog: a machine that does not
 * answer in time is ended and started again, a bounded number of times, and each time is told.
 */
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Hello } from "../agent/protocol/messages.ts";
import { AgentSession } from "../agent/session/session.ts";
import type {
  Machine,
  MachineConfig,
  MachineDriver,
  MachineExit,
  NetworkAttachment,
} from "../machine/machine.ts";
import { AGENT_PORT, lastWords, MachineError } from "../machine/machine.ts";
import type { Network } from "../network/network.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError, messageOf } from "../util/error.ts";

const ATTEMPTS = 3;
/** A cold boot takes 1 to 3 s under emulation; on a host with more machines than cores, many times that. */
const DEADLINE_MS = { fast: 20_000, emulated: 60_000 };
const EXIT_GRACE_MS = 1_000;

export interface BootOptions {
  readonly driver: MachineDriver;
  readonly emulated: boolean;
  /** Everything but the network, which is made anew for each attempt: its socket goes with the machine. */
  readonly config: Omit<MachineConfig, "network">;
  readonly startNetwork: (() => Promise<Network>) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** How long the guest may take to answer; default by `emulated`. */
  readonly deadlineMs?: number | undefined;
  /** Every later deadline of the agent's is multiplied by this; default 1. */
  readonly patience?: number | undefined;
  readonly onRetry: (attempt: number, why: string) => void;
  readonly onStarted?: ((machine: Machine) => Promise<void>) | undefined;
}

export interface BootedMachine extends AsyncDisposable {
  readonly machine: Machine;
  readonly session: AgentSession;
  readonly hello: Hello;
  readonly network: Network | undefined;
  readonly retries: number;
}

/** @throws MachineError `guest-silent`, `protocol-error`, `vmm-failed`; the message ends with what VMM and console said */
export async function bootMachine(options: BootOptions): Promise<BootedMachine> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await bootOnce(options, attempt - 1);
    } catch (error) {
      options.signal?.throwIfAborted();
      const again = error instanceof FlameBoxError && error.temporary && attempt < ATTEMPTS;
      if (!again) throw error;
      options.onRetry(attempt + 1, error.message.split("\n")[0] ?? "");
    }
  }
}

async function bootOnce(options: BootOptions, retries: number): Promise<BootedMachine> {
  const { driver, config, startNetwork, signal } = options;
  await using cleanup = new CleanupStack();
  const network = startNetwork && cleanup.use(await startNetwork());
  const attachment = network && attachmentOf(network);
  const machine = cleanup.use(await driver.start({ ...config, network: attachment }, { signal }));
  await options.onStarted?.(machine);
  const { session, hello } = await greet(machine, { ...options, networkFailed: network?.failed });
  cleanup.use(session);
  return ownedBy(cleanup.move(), { machine, session, hello, network, retries });
}

export function attachmentOf(network: Network): NetworkAttachment {
  return { attach: (frames: Duplex) => network.attach(frames), mac: network.guest.mac };
}

export interface GreetOptions extends Pick<BootOptions, "emulated" | "signal" | "deadlineMs" | "patience"> {
  readonly networkFailed?: Promise<FlameBoxError> | undefined;
}

/** Waits for the agent's first answer. @throws as bootMachine */
export async function greet(
  machine: Machine,
  options: GreetOptions,
): Promise<{ readonly session: AgentSession; readonly hello: Hello }> {
  const { signal, emulated, networkFailed, patience } = options;
  const { deadlineMs = emulated ? DEADLINE_MS.emulated : DEADLINE_MS.fast } = options;
  const stream = await machine.dial(AGENT_PORT);
  const vmmEnded = machine.exited.then((exit) => Promise.reject(vmmFailure(machine, exit)));
  const failed = networkFailed?.then((error) => Promise.reject(error));
  // The losers of the race may still reject later, when nobody listens any more.
  vmmEnded.catch(() => {});
  failed?.catch(() => {});
  const opened = AgentSession.open(stream, { deadlineMs, signal, patience }).catch(async (error: unknown) => {
    signal?.throwIfAborted();
    throw await failureOf(machine, error);
  });
  opened.catch(() => {});
  const { session, hello } = await Promise.race([opened, vmmEnded, ...(failed ? [failed] : [])]);
  session.explainLoss(async (loss) => await explainLoss(machine, loss));
  return { session, hello };
}

/** Disposes `owned` in the end. */
export function ownedBy(
  owned: CleanupStack,
  parts: Omit<BootedMachine, typeof Symbol.asyncDispose>,
): BootedMachine {
  let disposed = false;
  // A guest that broke the protocol, or hangs, is not left to run until somebody looks; its owner still waits for
  // the end, and is told if that fails.
  void parts.session.closed.then(async () => disposed || (await parts.machine.kill())).catch(() => {});
  return {
    ...parts,
    [Symbol.asyncDispose]: async () => {
      disposed = true;
      await owned[Symbol.asyncDispose]();
    },
  };
}

async function failureOf(machine: Machine, error: unknown): Promise<unknown> {
  if (!(error instanceof FlameBoxError)) return error;
  // The stream ends a moment before the VMM is known to be gone, and how it went says more.
  const exit =
    error.code === "agent-lost"
      ? await Promise.race([machine.exited, sleep(EXIT_GRACE_MS, undefined, { ref: false })])
      : undefined;
  if (exit !== undefined) return vmmFailure(machine, exit);
  const broken = error.code === "protocol-error";
  return withLastWords(broken ? error.code : "guest-silent", messageOf(error), machine, !broken);
}

/** Why a machine that had started is no more: how its VMM ended, if it did, and what was said last. Never rejects. */
async function explainLoss(machine: Machine, loss: FlameBoxError): Promise<MachineError> {
  // A guest that broke the protocol is still running, and is ended by whoever owns the machine.
  const exit =
    loss.code === "agent-lost"
      ? await Promise.race([machine.exited, sleep(EXIT_GRACE_MS, undefined, { ref: false })])
      : undefined;
  return machineLost(machine, exit === undefined ? loss.message : howItEnded(exit), loss);
}

function howItEnded({ code, signal }: MachineExit): string {
  if (signal !== null) return `its VMM was ended by ${signal}`;
  return code === 0 ? "the guest switched itself off or crashed" : `its VMM ended with exit code ${code}`;
}

/** `machine-lost`: a machine that ran, and will not go on. */
export function machineLost(machine: Machine, why: string, cause: unknown): MachineError {
  const words = lastWords(machine.diagnostics());
  return new MachineError("machine-lost", `the machine was lost: ${why}${words && `\n  ${words}`}`, {
    cause,
  });
}

/** Exit code 0 is a guest that reset itself (a kernel panic): worth another try. Else QEMU refused something. */
function vmmFailure(machine: Machine, { code, signal }: MachineExit): MachineError {
  const how = signal ?? `exit code ${code}`;
  return withLastWords(
    "vmm-failed",
    `the VMM ended with ${how} before the guest answered`,
    machine,
    code === 0,
  );
}

function withLastWords(code: string, what: string, machine: Machine, temporary: boolean): MachineError {
  const words = lastWords(machine.diagnostics());
  return new MachineError(
    code,
    `the machine did not start (${machine.description}): ${what}${words && `\n  ${words}`}`,
    {
      hint: words === "" ? "flamebox doctor says what this host can do" : undefined,
      temporary,
    },
  );
}
