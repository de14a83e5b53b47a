/** The table as tests, on one base image, by whatever runs containers. */
import { beforeAll, describe, expect, test } from "vitest";
import type { Ended, Running } from "../support/running.ts";
import { compose, cut, rowsFor, shownOn } from "./compose.ts";
import type { RowResult } from "./compose.ts";
import { bases } from "./row.ts";
import type { Base, Group, NotRun, Row, Run } from "./row.ts";
import { groups, runs } from "./table.ts";

export type EngineName = "flamebox" | "podman";

export interface Engine {
  /** Starts `run ARGS…`. */
  readonly spawn: (args: readonly string[]) => Running;
  /** The reference for a base or a variant. */
  readonly reference: (image: string) => string;
  /** Puts real paths in the places of `{…}`. */
  readonly fill: (flags: readonly string[]) => string[];
}

type Ours<T extends { readonly podman?: object }> = Exclude<T["podman"], NotRun | undefined>;

/** What the entry has for podman, where it is podman that runs. */
function difference<T extends { readonly podman?: object }>(name: EngineName, entry: T): Ours<T> | undefined {
  const { podman } = entry;
  return name === "podman" && podman !== undefined && !("notRun" in podman) ? (podman as Ours<T>) : undefined;
}

/** What a test's name says where it is skipped; empty where it runs. */
function skipping(engine: EngineName, { podman = {} }: { readonly podman?: object | undefined }): string {
  return engine === "podman" && "notRun" in podman ? ` (skipped: ${String(podman.notRun)})` : "";
}

function expectShown(output: string, shows: string | RegExp): void {
  // A text never equals a pattern, so a failure shows both.
  const matches = typeof shows !== "string" && shows.test(output);
  expect(output).toEqual(matches ? output : shows);
}

function groupTests(name: EngineName, base: Base, group: Group, engine: () => Engine): void {
  const rows = rowsFor(base, group.rows);
  let ended: Ended;
  let results: readonly RowResult[];
  beforeAll(async () => {
    const { spawn, reference, fill } = engine();
    const flags = fill(difference(name, group)?.flags ?? group.flags);
    const running = spawn([...flags, reference(base), "sh", "-c", compose(rows)]);
    running.child.stdin.end();
    ended = await running.ended;
    results = cut(ended.stdout);
  });
  const rowTest = (row: Row, at: number): void => {
    const skip = skipping(name, row);
    test.skipIf(skip !== "")(`${row.name}${skip}`, () => {
      const result = results[at];
      if (result === undefined)
        throw new Error(`the container ended before this row: ${ended.code} ${ended.stderr}`);
      expectShown(result.output, shownOn(base, difference(name, row)?.shows ?? row.shows));
      expect(result.code, "exit code of the row's script").toBe(0);
    });
  };
  for (const [at, row] of rows.entries()) rowTest(row, at);
}

function runTest(name: EngineName, run: Run, engine: () => Engine): void {
  const skip = skipping(name, run);
  test.skipIf(skip !== "")(`${run.name}${skip}`, async () => {
    const { spawn, reference, fill } = engine();
    const running = spawn([...fill(run.flags ?? []), reference(run.image), ...(run.words ?? [])]);
    running.child.stdin.end(run.input ?? "");
    if (run.signal !== undefined) {
      await running.shows(run.signal.after);
      running.child.kill(run.signal.name);
    }
    // podman drops a signal that comes before it has noted that the container runs.
    const again = name === "podman" && run.signal !== undefined;
    const repeat = again ? setInterval(() => running.child.kill(run.signal?.name), 1000) : undefined;
    const ended = await running.ended;
    clearInterval(repeat);
    const wanted = { ...run, ...difference(name, run) };
    expect(ended, ended.stderr).toMatchObject({ code: wanted.code, signal: null });
    if (wanted.stdout !== undefined) expectShown(ended.stdout, wanted.stdout);
    if (wanted.stderr !== undefined) expectShown(ended.stderr, wanted.stderr);
  });
}

/** Every group that the base image has rows for, and every run of it; variants run with busybox. */
export function conformance(name: EngineName, base: Base, engine: () => Engine): void {
  const groupsHere = groups.filter(
    ({ images = bases, rows }) => images.includes(base) && rowsFor(base, rows).length > 0,
  );
  for (const group of groupsHere) {
    const skip = skipping(name, group);
    describe.skipIf(skip !== "")(`${group.name}${skip}`, () => {
      groupTests(name, base, group, engine);
    });
  }
  const here = runs.filter(({ image }) => (image === "debian" ? "debian" : "busybox") === base);
  describe("runs", () => {
    for (const run of here) runTest(name, run, engine);
  });
}
