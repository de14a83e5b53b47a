/** A guest that behaves until it is asked for a further process, which a health check is; and what it warns of. */
import { setTimeout as sleep } from "node:timers/promises";
import { FrameType as Type, MAX_DATA_BYTES } from "../../src/agent/protocol/frame.ts";
import type { Guest } from "./guest.ts";
import { breach, harmless } from "./script.ts";
import type { Ending, Script } from "./script.ts";

interface Check {
  readonly request: number;
  readonly exec: string;
  readonly stdout: number;
  readonly stderr: number;
}

/** The next check that the host wants to be run. */
async function asked(guest: Guest): Promise<Check> {
  const { id, params } = await guest.request();
  const { exec, stdio } = params as { exec: string; stdio: { stdout: number; stderr: number } };
  return { request: id, exec, ...stdio };
}

function answered(guest: Guest, { request }: Check): void {
  guest.respond(request, { pid: 43 });
}

function over(guest: Guest, check: Check, fields: object = { exitCode: 0 }): void {
  for (const stream of [check.stdout, check.stderr]) guest.send(Type.eof, stream);
  guest.event({ event: "container.exec.exit", id: guest.containerId, exec: check.exec, ...fields });
}

type Conduct = (guest: Guest, check: Check) => void | Promise<void>;

const options = { healthcheck: { test: ["CMD", "true"], intervalMs: 20, timeoutMs: 300 } } as const;
const atFirstCheck =
  (conduct: Conduct) =>
  async (guest: Guest): Promise<void> =>
    await conduct(guest, await asked(guest));

const bad = (name: string, conduct: Conduct, says: RegExp): Script => ({
  ...breach(`a check: ${name}`, "running", atFirstCheck(conduct), says),
  options,
});
const odd = (name: string, conduct: Conduct, ending: Ending = { code: 0 }): Script => ({
  ...harmless(`a check: ${name}`, "running", atFirstCheck(conduct), ending),
  options,
});

const checks: readonly Script[] = [
  bad(
    "a process id of nothing",
    (guest, { request }) => guest.respond(request, {}),
    /container\.exec has not/,
  ),
  bad(
    "a process id of 0",
    (guest, { request }) => guest.respond(request, { pid: 0 }),
    /container\.exec has not/,
  ),
  bad(
    "an end before its output's",
    (guest, check) => {
      answered(guest, check);
      guest.event({ event: "container.exec.exit", id: guest.containerId, exec: check.exec, exitCode: 0 });
    },
    /output has not ended/,
  ),
  bad(
    "an end with code 256",
    (guest, check) => {
      answered(guest, check);
      over(guest, check, { exitCode: 256 });
    },
    /container\.exec\.exit has not/,
  ),
  bad(
    "two ends",
    (guest, check) => {
      answered(guest, check);
      over(guest, check);
      over(guest, check);
    },
    /was not running/,
  ),
  bad(
    "the end of another one",
    (guest, check) => {
      answered(guest, check);
      over(guest, { ...check, exec: "health-2" });
    },
    /was not running/,
  ),
  odd("refused", (guest, { request }) => {
    guest.send(Type.response, request, { error: { code: "failed", message: "no" } });
    guest.exit({ exitCode: 0 });
  }),
  odd("no answer, and the container's end", (guest) => guest.exit({ exitCode: 0 })),
  odd("output without end, as fast as it is read", async (guest, check) => {
    answered(guest, check);
    void guest.write(check.stdout, 4 * 2 ** 30, MAX_DATA_BYTES);
    await sleep(1_000);
    guest.exit({ exitCode: 0 });
  }),
  odd("no end, and the container's", (guest, check) => {
    answered(guest, check);
    guest.send(Type.data, check.stdout, Buffer.from("\u001b[2J".repeat(1_000)));
    guest.exit({ exitCode: 0 });
  }),
];

const warned = (name: string, warnings: unknown): Script =>
  breach(
    `${name} for warnings`,
    "configured",
    (guest) => guest.respond(guest.pending, { pid: 42, warnings }),
    /container\.create has not/,
  );

const warnings: readonly Script[] = [
  warned(
    "33 texts",
    Array.from({ length: 33 }, () => "w"),
  ),
  warned("a text of 501 characters", ["w".repeat(501)]),
  warned("a number", [7]),
  warned("no list", { length: 1, 0: "w" }),
];

export const execScripts: readonly Script[] = [...checks, ...warnings];
