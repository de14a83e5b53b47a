/** What a container's network refused, written down: bounded, counted, and read as a log is. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EGRESS_LOG, EgressLog } from "../../src/container/log/egress.ts";
import type { EgressEntry } from "../../src/container/log/egress.ts";
import { readRotated } from "../../src/container/log/reader.ts";
import type { ReadOptions } from "../../src/container/log/reader.ts";
import { containerEgressLog } from "../../src/container/lifecycle/verbs.ts";
import { addContainer } from "../../src/container/lifecycle/roster.ts";
import { DEFAULT_LOG, NO_RESTART } from "../../src/container/lifecycle/record.ts";
import { openStore } from "../../src/store/store.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "flamebox-egress-"))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function all(options: ReadOptions = {}, folder = dir): Promise<EgressEntry[]> {
  const entries: EgressEntry[] = [];
  for await (const entry of readRotated(folder, EGRESS_LOG, options)) entries.push(entry);
  return entries;
}

function refuse(log: EgressLog, port: number, names: readonly string[] = ["example.test"]): void {
  log.add(`tcp ${port}`, () => ({
    protocol: "tcp",
    address: "192.0.2.7",
    port,
    names,
    reason: "no rule allows it",
  }));
}

describe("writing", () => {
  test("makes no file as long as nothing is refused", async () => {
    await new EgressLog(dir)[Symbol.asyncDispose]();
    expect(readdirSync(dir)).toEqual([]);
  });

  test("has a destination's first refusal at once, and those after it as a number", async () => {
    const log = new EgressLog(dir, { windowMs: 1_000 });
    for (let i = 0; i < 5; i++) refuse(log, 443);
    refuse(log, 80);
    await vi.waitFor(async () => expect((await all()).length).toBeGreaterThanOrEqual(2));
    await vi.waitFor(async () => expect((await all()).length).toBeGreaterThanOrEqual(3), 10_000);
    refuse(log, 443);
    await log[Symbol.asyncDispose]();
    const entries = await all();
    expect(entries.map(({ port, count }) => [port, count])).toEqual([
      [443, 1],
      [80, 1],
      [443, 4],
      [443, 1],
    ]);
    expect(entries[0]).toMatchObject({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
      protocol: "tcp",
      address: "192.0.2.7",
      names: ["example.test"],
      reason: "no rule allows it",
      untold: 0,
    });
    expect(statSync(join(dir, "egress.log")).mode & 0o777).toBe(0o600);
  });

  test("leaves out what is too much, and counts it", async () => {
    {
      await using log = new EgressLog(dir);
      for (let port = 1; port <= 10_000; port++) refuse(log, port);
    }
    const entries = await all();
    expect(entries).toHaveLength(21);
    expect(entries.at(-1)).toMatchObject({ protocol: "other", count: 0, untold: 9_980 });
  });

  test("is two files of a mebibyte at most, whatever names DNS gave", async () => {
    const hostile = Array.from({ length: 1_000 }, (_, i) => `${"\u0001\n".repeat(500)}${i}`);
    for (let minute = 0; minute < 15; minute++) {
      await using log = new EgressLog(dir);
      for (let port = 1; port <= 20; port++) refuse(log, port, hostile);
    }
    expect(readdirSync(dir).toSorted()).toEqual(["egress.log", "egress.log.1"]);
    for (const name of readdirSync(dir)) expect(statSync(join(dir, name)).size).toBeLessThanOrEqual(1 << 20);
    for (const { names } of await all()) expect(names.length).toBeLessThanOrEqual(8);
  });

  test("that is not possible is told once", async () => {
    const problems: string[] = [];
    const log = new EgressLog(join(dir, "missing"), { onProblem: (message) => problems.push(message) });
    refuse(log, 1);
    await vi.waitFor(() => expect(problems).toHaveLength(1));
    refuse(log, 2);
    await log[Symbol.asyncDispose]();
    expect(problems).toHaveLength(1);
  });
});

describe("reading", () => {
  test("passes over lines that are none of ours", async () => {
    const entry = {
      time: "2026-01-02T03:04:05.006Z",
      protocol: "dns",
      address: "",
      port: 0,
      names: ["a.test"],
    };
    const lines = [
      "{",
      "[]",
      "null",
      JSON.stringify({ ...entry, reason: "no", count: "1", untold: 0 }),
      JSON.stringify({ ...entry, reason: "no", count: 1, untold: 0, time: "\u001b[2J" }),
      JSON.stringify({ ...entry, reason: "no", count: 1, untold: 0 }),
    ];
    writeFileSync(join(dir, "egress.log"), `${lines.join("\n")}\n${"x".repeat(3 << 20)}`);
    expect(await all()).toHaveLength(1);
  });

  test("is by the container's name, and follows until nobody runs it", async () => {
    const paths = { dataDir: join(dir, "data"), runtimeDir: join(dir, "run") };
    await (await openStore(paths))[Symbol.asyncDispose]();
    const record = await addContainer(paths, {
      id: "a".repeat(64),
      name: "web",
      imageName: "busybox",
      image: {
        reference: "docker.io/library/busybox:latest",
        configDigest: "sha256:0",
        diffIds: [],
      } as never,
      createdAt: "2026-11-29T00:00:00.000Z",
      options: {},
      args: ["sh"],
      labels: {},
      restart: NO_RESTART,
      log: { ...DEFAULT_LOG, driver: "none" },
      autoRemove: false,
    });
    const folder = join(paths.dataDir, "containers", record.id);
    {
      await using log = new EgressLog(folder);
      for (let port = 1; port <= 3; port++) refuse(log, port);
    }
    expect(existsSync(join(folder, "egress.log"))).toBe(true);
    const ports: number[] = [];
    for await (const { port } of containerEgressLog("web", { paths, tail: 2, follow: true }))
      ports.push(port);
    expect(ports).toEqual([2, 3]);
    const text = readFileSync(join(folder, "egress.log"), "utf8");
    expect(
      text
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as EgressEntry).port),
    ).toEqual([1, 2, 3]);
    await expect(containerEgressLog("wbe", { paths }).next()).rejects.toMatchObject({
      code: "container-not-found",
    });
  });
});
