/** The journal of events: several processes append, one of them rotates, and a follower misses nothing of it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { noteEvent, readEvents } from "../../src/container/lifecycle/events.ts";
import type { ContainerEvent, EventsOptions } from "../../src/container/lifecycle/events.ts";
import { compileRepository } from "../support/compiled.ts";

const LIMIT_BYTES = 4 << 20;
const RECORD = { id: "a".repeat(64), name: "web", imageName: "busybox:1.36", labels: { tier: "front" } };

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "flamebox-events-"))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const paths = () => ({ dataDir: dir, runtimeDir: dir });
const journal = () => join(dir, "events", "journal.jsonl");

async function all(options: EventsOptions = {}): Promise<ContainerEvent[]> {
  const events: ContainerEvent[] = [];
  for await (const event of readEvents(paths(), { sinceMs: 0, untilMs: Date.now() + 1, ...options }))
    events.push(event);
  return events;
}

const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => String(from + i));
const note = async (number: string, bytes = 0): Promise<void> =>
  await noteEvent(paths(), "exec_die", RECORD, { number, room: "x".repeat(bytes) });
const numbersOf = (events: readonly ContainerEvent[]): string[] =>
  events.map(({ attributes }) => attributes["number"] ?? "");

/** One that is full, so that whoever appends next rotates it. */
function fill(): void {
  mkdirSync(join(dir, "events"));
  appendFileSync(journal(), `${"x".repeat(1_000)}\n`.repeat(LIMIT_BYTES / 1_000));
}

describe("an event", () => {
  test("has the container's labels, unless they are longer than a line may be", async () => {
    await note("0");
    await noteEvent(paths(), "die", { ...RECORD, labels: { long: "x".repeat(70_000) } }, { exitCode: "3" });
    expect(await all()).toMatchObject([
      { action: "exec_die", id: RECORD.id, labels: { tier: "front" }, attributes: { image: "busybox:1.36" } },
      { action: "die", labels: {}, attributes: { exitCode: "3", name: "web" } },
    ]);
  });

  test("of a journal that is older than labels, or damaged, is read or passed over", async () => {
    await note("0");
    const old = {
      time: new Date().toISOString(),
      type: "container",
      action: "start",
      id: "b",
      attributes: {},
    };
    const bad = { ...old, time: "never" };
    appendFileSync(journal(), `{\n${JSON.stringify(bad)}\n${JSON.stringify(old)}\nhalf a li`);
    expect((await all()).map(({ action, labels }) => [action, labels])).toEqual([
      ["exec_die", { tier: "front" }],
      ["start", {}],
    ]);
  });
});

describe("rotation", () => {
  test("happens once, however many find the journal full", async () => {
    fill();
    const filled = statSync(journal()).ino;
    await Promise.all(numbered(0, 200).map(async (number) => await note(number)));
    expect(statSync(`${journal()}.1`).ino).toBe(filled);
    expect(numbersOf(await all()).toSorted()).toEqual(numbered(0, 200).toSorted());
  });

  test("between two looks of a follower takes nothing from it", async () => {
    await note("0");
    const following = readEvents(paths(), { sinceMs: 0, signal: AbortSignal.timeout(30_000) });
    const seen = [await following.next()];
    // It looks away: what comes at the end of the file, and then in the next one.
    for (const number of numbered(1, 100)) await note(number, 50_000);
    expect(existsSync(`${journal()}.1`)).toBe(true);
    while (seen.length < 100) seen.push(await following.next());
    await following.return(undefined);
    expect(numbersOf(seen.map(({ value }) => value as ContainerEvent))).toEqual(numbered(0, 100));
  });

  test("leaves a late line in the rotated file to followers as well", async () => {
    await note("0");
    const following = readEvents(paths(), { sinceMs: 0, signal: AbortSignal.timeout(30_000) });
    await following.next();
    const [line = ""] = readFileSync(journal(), "utf8").split("\n");
    for (const number of numbered(1, 100)) await note(number, 50_000);
    for (let i = 1; i < 100; i++) await following.next();
    // Of a process that had opened the file before it was renamed.
    appendFileSync(`${journal()}.1`, `${line.replace('"number":"0"', '"number":"late"')}\n`);
    await note("100");
    const rest = [await following.next(), await following.next()];
    await following.return(undefined);
    expect(numbersOf(rest.map(({ value }) => value as ContainerEvent)).toSorted()).toEqual(["100", "late"]);
  });
});

test("several processes append at once: every line is there, and a follower has each once", async () => {
  using compiled = compileRepository(["src", "test/container/events-child.ts"]);
  const script = compiled.url("test/container/events-child.ts").pathname;
  const [processes, count, bytes] = [5, 30, 45_000];
  const stop = new AbortController();
  const seen: string[] = [];
  const key = ({ attributes }: ContainerEvent) => `${attributes["name"]} ${attributes["execId"]}`;
  const following = (async () => {
    for await (const event of readEvents(paths(), { sinceMs: 0, signal: stop.signal }))
      if (seen.push(key(event)) === processes * count) return;
  })();
  following.catch(() => {});
  const children = Array.from({ length: processes }, (_, i) =>
    spawn(process.execPath, [script, dir, `p${i}`, String(count), String(bytes)], { stdio: "inherit" }),
  );
  const codes = await Promise.all(
    children.map(async (child) => ((await once(child, "exit")) as [number])[0]),
  );
  expect(codes).toEqual(children.map(() => 0));
  const timer = setTimeout(() => stop.abort(new Error("the follower has not seen them all")), 20_000);
  await following.finally(() => clearTimeout(timer));
  const expected = children.flatMap((_, i) => numbered(0, count).map((number) => `p${i} ${number}`));
  expect(seen.toSorted()).toEqual(expected.toSorted());
  // There was one rotation, and what was full is what was put aside.
  expect(statSync(`${journal()}.1`).size).toBeGreaterThan(LIMIT_BYTES);
  expect((await all()).map(key).toSorted()).toEqual(expected.toSorted());
});
