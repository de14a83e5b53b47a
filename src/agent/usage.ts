/** What runs in a container, what it uses, and what it may use. PROTOCOL.md, "Use". */
import type { CallOptions } from "./call.ts";
import { ask, CREATE_DEADLINE_MS, openAnswered, recordsOf, requireGeneration } from "./call.ts";
import { ProtocolError } from "./protocol/frame.ts";
import { check, emptySchema, processSchema, statsSchema, updatedSchema } from "./protocol/messages.ts";
import type { ContainerProcess, ContainerStats } from "./protocol/messages.ts";
import type { AgentSession } from "./session/session.ts";

const MAX_PROCESSES = 4_096;
/** 4 KiB of arguments, every byte of them escaped, and the rest. */
const MAX_RECORD_BYTES = 65_536;

/** @throws AgentError `not-found` when there is no such container */
export async function containerStats(
  session: AgentSession,
  id: string,
  options: CallOptions = {},
): Promise<ContainerStats> {
  requireGeneration(session, 2, "a container's use of its machine");
  return await ask(session, "container.stats", statsSchema, { id }, options);
}

/**
 * In the order of their numbers. Those that have ended and that nobody has waited for are among them.
 * @throws AgentError `not-found`, `conflict`, `failed`
 */
export async function containerProcesses(
  session: AgentSession,
  id: string,
  options: CallOptions = {},
): Promise<readonly ContainerProcess[]> {
  requireGeneration(session, 4, "a container's processes");
  const { stream } = await openAnswered(session, "container.processes", emptySchema, { id }, options);
  const processes: ContainerProcess[] = [];
  for await (const record of recordsOf(session, stream, MAX_RECORD_BYTES, options)) {
    try {
      if (processes.length >= MAX_PROCESSES) throw new ProtocolError("container.processes tells of too many");
      processes.push(parseProcess(record));
    } catch (error) {
      if (error instanceof ProtocolError) session.refuse(error);
      throw error;
    }
  }
  return processes;
}

/** @throws ProtocolError */
export function parseProcess(record: Buffer): ContainerProcess {
  let value: unknown;
  try {
    value = JSON.parse(record.toString("utf8"));
  } catch {
    throw new ProtocolError("container.processes told something that is not JSON");
  }
  return check("container.processes", processSchema, value);
}

/** As in `linux.resources` of an OCI config.json; what is not given stays as it is. */
export interface ResourceUpdate {
  readonly memory?:
    | { readonly limit?: number; readonly reservation?: number; readonly swap?: number }
    | undefined;
  readonly cpu?:
    | {
        readonly shares?: number;
        readonly quota?: number;
        readonly period?: number;
        readonly cpus?: string;
      }
    | undefined;
  readonly pids?: { readonly limit: number } | undefined;
}

/**
 * Changes the limits of a container that was created, at once.
 * @returns what of it this machine cannot carry out, for people
 * @throws AgentError `invalid-config`, `conflict` for less memory than is in use, `not-found`
 */
export async function updateContainer(
  session: AgentSession,
  id: string,
  resources: ResourceUpdate,
  options: CallOptions = {},
): Promise<{ readonly warnings: readonly string[] }> {
  requireGeneration(session, 4, "other limits for a container");
  const call = { ...options, deadlineMs: CREATE_DEADLINE_MS };
  return await ask(session, "container.update", updatedSchema, { id, resources }, call);
}
