/**
 * A guest that does its worst, against the host's whole way of a container. Whatever it does: the container ends
 * in time, with one clear line; its machine is ended, and no other one; nothing is left.
 */
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FrameType } from "../../src/agent/protocol/frame.ts";
import type { RunningContainer } from "../../src/container/options.ts";
import { FlameBoxError, messageOf } from "../../src/util/error.ts";
import { conductScripts } from "./conduct-scripts.ts";
import { execScripts } from "./exec-scripts.ts";
import { frameScripts } from "./frame-scripts.ts";
import { Guest } from "./guest.ts";
import type { Ending, Failing, Script } from "./script.ts";
import { ScriptedMachine, socketPair, Stage } from "./stage.ts";

const scripts = [...frameScripts, ...conductScripts, ...execScripts];
/** From a guest's misbehaviour to its machine's end: the longest wait of `QUICK`, and other tests on the processor. */
const MACHINE_DEADLINE_MS = 10_000;
/** For all of it, disks included; CI's may take their time. */
const DEADLINE_MS = 90_000;

let stage: Stage;
let bystander: { guest: Guest; machine: ScriptedMachine; container: RunningContainer };
beforeAll(async () => {
  stage = await Stage.open();
  let played: { guest: Guest; machine: ScriptedMachine } | undefined;
  const container = await stage.start(async () => {
    const [host, socket] = await socketPair();
    const guest = new Guest(socket);
    void guest.reach("running");
    const machine = new ScriptedMachine(host);
    played = { guest, machine };
    return machine;
  });
  if (played === undefined) throw new Error("the bystander has no machine");
  bystander = { ...played, container };
});
afterAll(async () => await stage[Symbol.asyncDispose]());

interface Outcome {
  readonly ending: Record<string, unknown>;
  readonly error: unknown;
  readonly machines: readonly ScriptedMachine[];
}

async function perform(script: Script): Promise<Outcome> {
  const machines: ScriptedMachine[] = [];
  const play = async (): Promise<ScriptedMachine> => {
    const [host, socket] = await socketPair();
    const machine = new ScriptedMachine(host);
    machines.push(machine);
    const guest = new Guest(socket);
    void misbehave(script, guest, machine);
    return machine;
  };
  let ending: Record<string, unknown> = {};
  let failure: unknown;
  try {
    await using container = await stage.start(play, script.options);
    const outputs = script.unread === true ? [] : [text(container.stdout), text(container.stderr)];
    const ended = Promise.all([container.wait(), ...outputs]);
    ended.catch(() => {});
    await script.user?.(container);
    const [exit, stdout, stderr] = await ended;
    ending = { ...exit, stdout, stderr };
  } catch (error) {
    failure = error;
  }
  return { ending, error: failure, machines };
}

async function misbehave(script: Script, guest: Guest, machine: ScriptedMachine): Promise<void> {
  await guest.reach(script.stage);
  machine.attackedMs = performance.now();
  await script.attack(guest, machine);
}

async function within<T>(deadlineMs: number, job: Promise<T>): Promise<T> {
  const late = async (): Promise<never> => {
    await sleep(deadlineMs, undefined, { ref: false });
    throw new Error(`still going on after ${deadlineMs} ms`);
  };
  return await Promise.race([job, late()]);
}

/** What is wrong with how it ended; nothing, if all is well. */
function problemsOf(outcome: Outcome, expected: Ending): string[] {
  const problems = "error" in expected ? faultsOf(outcome, expected) : differences(outcome, expected);
  for (const { stream, killed, attackedMs, endedMs } of outcome.machines) {
    if (!stream.destroyed || !killed) problems.push("its machine goes on");
    if (endedMs - attackedMs > MACHINE_DEADLINE_MS) problems.push(`it took ${endedMs - attackedMs} ms`);
  }
  if (outcome.machines.length === 0) problems.push("no machine was started");
  return problems;
}

function differences({ ending, error }: Outcome, expected: object): string[] {
  if (error !== undefined) return [`it failed: ${messageOf(error)}`];
  return Object.entries(expected)
    .filter(([name, value]) => ending[name] !== value)
    .map(([name, value]) => `${name} is ${String(ending[name])}, not ${String(value)}`);
}

function faultsOf({ ending, error }: Outcome, { error: code, says = /./ }: Failing): string[] {
  if (!(error instanceof FlameBoxError))
    return [`it ended with ${error === undefined ? JSON.stringify(ending) : messageOf(error)}`];
  const [line = "", ...diagnostics] = error.message.split("\n");
  return [
    ...(error.code === code ? [] : [`${error.code}: ${line}`]),
    ...(says.test(line) && line.length < 400 ? [] : [`it says: ${line}`]),
    // Whatever the guest said, no control character of it gets to a terminal.
    ...(/\p{C}/u.test(line) ? ["its line has control characters"] : []),
    ...diagnostics.filter((words) => !/^ {2}[^\p{C}]*$/u.test(words)),
  ];
}

it("is played in more than a hundred ways, each with a name of its own", () => {
  expect(scripts.length).toBeGreaterThan(100);
  expect(new Set(scripts.map(({ name }) => name)).size).toBe(scripts.length);
});

describe.concurrent("a guest that sends, or does:", () => {
  it.for(scripts.map((script) => [script.name, script] as const))(
    "%s",
    { timeout: DEADLINE_MS + 5_000 },
    async ([, script]) => {
      const outcome = await within(DEADLINE_MS, perform(script));
      expect(problemsOf(outcome, script.ending)).toEqual([]);
    },
  );
});

describe("after all of that", () => {
  it("another machine goes on as if nothing had been", async () => {
    const { guest, machine, container } = bystander;
    expect(machine.killed).toBe(false);
    guest.send(FrameType.data, guest.stdio.stdout, Buffer.from("still here"));
    guest.exit({ exitCode: 4 });
    expect(await text(container.stdout)).toBe("still here");
    expect(await container.wait()).toMatchObject({ code: 4 });
    await container[Symbol.asyncDispose]();
  });

  it("nothing is left", async () => {
    expect(await stage.leftovers()).toEqual([]);
  });
});
