/** The monitor's process: lifecycle/monitor.ts starts it and says what is spoken. */
import { Socket } from "node:net";
import { ControlServer } from "./control/server.ts";
import { packError } from "./control/wire.ts";
import { prepareHost } from "./host.ts";
import { claimContainer } from "./lifecycle/heal.ts";
import { Keeper } from "./lifecycle/keeper.ts";
import type { MonitorOrder } from "./lifecycle/monitor.ts";
import { containerDir, readRecord } from "./lifecycle/record.ts";
import { readState } from "./lifecycle/state.ts";
import { EgressLog } from "./log/egress.ts";
import { FlameBoxError } from "../util/error.ts";
import { linesOf } from "../util/lines.ts";

const LINK_FD = 3;
/** A command that wanted to attach and was killed leaves a container that nobody waits for. */
const ATTACH_DEADLINE_MS = 60_000;

const link = new Socket({ fd: LINK_FD });
// The command may go at any time.
link.on("error", () => {});

function tell(message: object): void {
  if (link.writable) link.write(`${JSON.stringify(message)}\n`);
}

async function orderFrom(): Promise<MonitorOrder> {
  const lines = linesOf(link);
  // Not left by `return`, which would end the link.
  const { value } = await lines.next();
  if (typeof value !== "string") throw new FlameBoxError("internal-error", "the monitor was given no order");
  return JSON.parse(value) as MonitorOrder;
}

async function keep({ id, paths, firecracker, jailer, attachFirst }: MonitorOrder): Promise<void> {
  const record = await readRecord(paths, id);
  if (record === undefined) throw new FlameBoxError("container-not-found", "the container has been removed");
  await claimContainer(paths, record);
  const { live: _live, error: _error, warnings: _warnings, ...state } = await readState(paths, id);
  const egressLog = new EgressLog(containerDir(paths, id), { onProblem: (notice) => keeper.warn(notice) });
  const keeper: Keeper = new Keeper({
    surroundings: { prepareHost },
    record,
    state: { ...state, restartCount: 0 },
    egressLog,
    options: {
      paths,
      firecracker,
      jailer,
      onProgress: (progress) => tell({ progress }),
      onNotice: (notice) => tell({ notice }),
    },
  });
  const aborting = new AbortController();
  const end = () => {
    aborting.abort(new FlameBoxError("interrupted", "the container's start was ended"));
    // As a host does that shuts down; who wants the container stopped asks on its socket.
    void keeper.stop({ byHost: true });
  };
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
  // It has no terminal to lose.
  process.on("SIGHUP", () => {});
  await using server = await ControlServer.listen(paths, keeper);
  tell({ listening: true });
  const gate = async (): Promise<void> => {
    const late = AbortSignal.timeout(ATTACH_DEADLINE_MS);
    const ended = AbortSignal.any([late, aborting.signal]);
    const gone = new Promise<never>((_resolve, reject) => {
      ended.addEventListener("abort", () => reject(ended.reason as Error), { once: true });
    });
    await Promise.race([server.attached, gone]);
  };
  const onStarted = () => {
    tell({ started: true });
    link.end();
  };
  await keeper.run({ signal: aborting.signal, onStarted, ...(attachFirst && { gate }) });
}

try {
  await keep(await orderFrom());
} catch (error) {
  tell({ error: packError(error) });
}
link.end();
// Whatever may still be open (a socket of somebody who does not read) is of no use any more.
setTimeout(() => process.exit(), 1_000).unref();
