import { describe, expect, it } from "vitest";
import type { ProgressEvent } from "../../src/cli/library.ts";
import { createReporter } from "../../src/cli/output/reporter.ts";
import type { Settings } from "../../src/cli/settings.ts";
import { type FakeContext, fakeContext, screenOf } from "./fake-context.ts";

const plain: Settings = { json: false, format: undefined, quiet: false, logLevel: "info" };

function layer(
  name: string,
  current: number,
  total: number,
  state: ProgressEvent["state"] = "running",
): ProgressEvent {
  return { id: `layer:${name}`, label: `layer ${name}`, state, unit: "bytes", current, total };
}

function onTerminal(env = {}): { context: FakeContext; reporter: ReturnType<typeof createReporter> } {
  const context = fakeContext({ terminal: true, env });
  return { context, reporter: createReporter(context, plain) };
}

function shown(context: FakeContext): string[] {
  return screenOf(context.stderr.text).lines;
}

describe("progress on a terminal", () => {
  it("draws many bars in place, with size, speed and time left", () => {
    const { context, reporter } = onTerminal({ NO_COLOR: "1" });
    reporter.onProgress(layer("3f2a9c", 0, 45_600_000));
    reporter.onProgress(layer("77b001", 0, 2_000_000));
    reporter.onProgress({ id: "kernel", label: "kernel 6.12", state: "running" });
    context.clock.advance(1000);
    reporter.onProgress(layer("3f2a9c", 11_400_000, 45_600_000));
    reporter.onProgress(layer("77b001", 2_000_000, 2_000_000, "done"));
    context.clock.advance(1000);
    expect(shown(context)).toEqual([
      "layer 3f2a9c  [#######---------------------]  11.4MB/45.6MB  5.7MB/s  6.0s left",
      "layer 77b001  done  2MB  1.0s",
      "kernel 6.12   |  2.0s",
      "",
    ]);
    expect(screenOf(context.stderr.text).cursorVisible).toBe(false);
  });

  it("leaves one line, the cursor, and no timer", () => {
    const { context, reporter } = onTerminal();
    reporter.onProgress(layer("a", 0, 1000));
    reporter.onProgress(layer("b", 0, 0, "cached"));
    reporter.onProgress({ id: "kernel", label: "kernel 6.12", state: "running" });
    context.clock.advance(1500);
    reporter.onProgress(layer("a", 1000, 1000, "done"));
    reporter.onProgress({ id: "kernel", label: "kernel 6.12", state: "done" });
    reporter.stop({ summary: true });
    expect(shown(context)).toEqual(["2 layers (1 already here), 1kB, kernel 6.12 in 1.5s", ""]);
    expect(screenOf(context.stderr.text).cursorVisible).toBe(true);
    expect(context.clock.timers).toBe(0);
    expect(context.exitJobs.size).toBe(0);
    const before = context.stderr.text;
    reporter.onProgress(layer("late", 0, 1));
    context.clock.advance(5000);
    expect(context.stderr.text).toBe(before);
  });

  it("says nothing at all of what is over within half a second", () => {
    const { context, reporter } = onTerminal();
    reporter.onProgress({ id: "boot", label: "boot", state: "running" });
    context.clock.advance(450);
    reporter.onProgress({ id: "boot", label: "boot", state: "done" });
    context.clock.advance(2000);
    reporter.stop({ summary: true });
    expect(context.stderr.text).toBe("");
  });

  it("is gone without a trace before the output begins", () => {
    const { context, reporter } = onTerminal();
    reporter.onProgress({ id: "boot", label: "boot", state: "running" });
    context.clock.advance(2000);
    reporter.stop();
    expect(shown(context)).toEqual([""]);
  });

  it("gives the cursor back when the process ends in the middle", () => {
    const { context, reporter } = onTerminal();
    reporter.onProgress({ id: "boot", label: "boot", state: "running" });
    context.clock.advance(2000);
    for (const job of context.exitJobs) job();
    expect(screenOf(context.stderr.text)).toEqual({ lines: [""], cursorVisible: true });
  });

  it("puts notices above the bars", () => {
    const { context, reporter } = onTerminal();
    reporter.onProgress({ id: "boot", label: "boot", state: "running" });
    context.clock.advance(1000);
    reporter.onNotice("no usable KVM");
    expect(shown(context)).toEqual(["flamebox: no usable KVM", "boot  |  1.0s", ""]);
  });

  it.each([
    [70, "layer 3f2a9c  [#####---------------]  200MB/800MB  100MB/s  6.0s left"],
    [60, "layer 3f2a9c  [##--------]  200MB/800MB  100MB/s  6.0s left"],
    [55, "layer 3f2a9c  [####------------]  200MB/800MB  100MB/s"],
    [45, "layer 3f2a9c  [###------------]  200MB/800MB"],
    [30, "layer 3f2a9c  |  200MB/800MB"],
    [24, "layer 3f2a…  |  200MB/…"],
  ])("fits %d columns", (columns, line) => {
    const { context, reporter } = onTerminal({ NO_COLOR: "1" });
    context.stderr.columns = columns;
    reporter.onProgress(layer("3f2a9c", 0, 8e8));
    context.clock.advance(1000);
    reporter.onProgress(layer("3f2a9c", 2e8, 8e8));
    context.clock.advance(1000);
    expect(shown(context)[0]).toBe(line);
    expect(line.length).toBeLessThan(columns);
  });

  it("gives all bars one width", () => {
    const { context, reporter } = onTerminal({ NO_COLOR: "1" });
    reporter.onProgress(layer("a", 0, 1_234_000));
    reporter.onProgress(layer("b", 0, 1_000_000_000));
    reporter.onProgress({ id: "x", label: "unpack", state: "running", unit: "steps", current: 3, total: 6 });
    context.clock.advance(1000);
    const bars = shown(context).flatMap((line) => /\[[#-]*\]/.exec(line)?.[0].length ?? []);
    expect(bars).toHaveLength(3);
    expect(new Set(bars).size).toBe(1);
  });

  it("keeps to the window's height, running steps before ended ones", () => {
    const { context, reporter } = onTerminal({ NO_COLOR: "1" });
    context.stderr.rows = 4;
    for (const name of ["a", "b", "c", "d", "e"]) reporter.onProgress(layer(name, 0, 100));
    context.clock.advance(600);
    for (const name of ["a", "b", "c"]) reporter.onProgress(layer(name, 100, 100, "done"));
    context.clock.advance(200);
    const lines = shown(context);
    expect(lines.map((line) => line.slice(0, 9))).toEqual(["layer d  ", "layer e  ", "… and 3 m", ""]);
  });

  it("survives hostile labels and counts", () => {
    const { context, reporter } = onTerminal({ NO_COLOR: "1" });
    reporter.onProgress({
      id: "x",
      label: "a\u001b[2J\nb",
      state: "running",
      unit: "bytes",
      current: 9,
      total: 3,
    });
    context.clock.advance(1000);
    expect(shown(context)[0]).toContain("a\\x1b[2J\\nb  [####");
  });

  it("colours only where colours are wanted", () => {
    for (const [env, coloured] of [
      [{}, true],
      [{ NO_COLOR: "" }, true],
      [{ NO_COLOR: "1" }, false],
    ] as const) {
      const { context, reporter } = onTerminal(env);
      reporter.onProgress(layer("a", 0, 1));
      context.clock.advance(1000);
      reporter.onProgress(layer("a", 1, 1, "done"));
      context.clock.advance(1000);
      expect(context.stderr.text.includes("\u001b[32m")).toBe(coloured);
    }
  });
});

describe("progress in a log", () => {
  const runs = (settings: Settings, terminal = false, env = {}) => {
    const context = fakeContext({ terminal, env });
    const reporter = createReporter(context, settings);
    reporter.onProgress(layer("a", 0, 2_000_000));
    reporter.onProgress({ id: "quick", label: "quick", state: "running" });
    reporter.onProgress({ id: "quick", label: "quick", state: "done" });
    reporter.onProgress(layer("b", 0, 0, "cached"));
    for (let step = 1; step < 8; step++) {
      context.clock.advance(250);
      reporter.onProgress(layer("a", step * 250_000, 2_000_000));
    }
    reporter.onProgress(layer("a", 2_000_000, 2_000_000, "done"));
    reporter.onProgress(layer("a", 2_000_000, 2_000_000, "done"));
    reporter.onProgress({ ...layer("c", 0, 10, "failed"), note: "connection reset" });
    reporter.onNotice("a notice");
    reporter.stop({ summary: true });
    expect(context.clock.timers).toBe(0);
    return context.stderr.text;
  };
  const lines =
    "layer a: 2MB …\nlayer a: done 2MB in 1.8s\nlayer c: failed in 0.0s (connection reset)\nflamebox: a notice\n";

  it.each<[string, string, string]>([
    ["a line when a step begins to take time, and one when it ends", runs(plain), lines],
    ["the same on a dumb terminal", runs(plain, true, { TERM: "dumb" }), lines],
    ["nothing with --quiet", runs({ ...plain, quiet: true }), ""],
    ["only the notice at level warn", runs({ ...plain, logLevel: "warn" }), "flamebox: a notice\n"],
    ["nothing at level error", runs({ ...plain, logLevel: "error" }), ""],
    ["JSON lines with --json", runs({ ...plain, json: true }), '{"notice":{"message":"a notice"}}\n'],
  ])("is %s", (_, text, expected) => {
    expect(text).toBe(expected);
  });
});
