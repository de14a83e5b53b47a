import { describe, expect, it } from "vitest";
import {
  CliError,
  describeFailure,
  Interrupted,
  outputFailure,
  renderFailure,
  UsageError,
} from "../../src/cli/failure.ts";
import { FlameBoxError } from "../../src/util/error.ts";

const quiet = { json: false, debug: false };

function render(error: unknown, style = quiet, command = "pull"): string {
  return renderFailure(describeFailure(error, command), error, style);
}

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: something, open '/x'`), { code });
}

describe("the error funnel", () => {
  it.each<[string, unknown, string]>([
    ["a message", new FlameBoxError("a-b", "it failed"), "flamebox: it failed\n"],
    [
      "a hint",
      new FlameBoxError("a-b", "it failed", { hint: "do this" }),
      "flamebox: it failed\n  hint: do this\n",
    ],
    [
      "one line each, whatever is in them",
      new FlameBoxError("a-b", "a\nb\u001b[2J", { hint: "\u202ec\r" }),
      "flamebox: a\\nb\\x1b[2J\n  hint: \\u{202e}c\\r\n",
    ],
    ["a usage error", new UsageError("--x is wrong", "write y"), "flamebox: --x is wrong\n  hint: write y\n"],
    [
      "a system error",
      systemError("ENOSPC"),
      "flamebox: ENOSPC: something, open '/x'\n  hint: free some space, or move FlameBox's files with FLAMEBOX_HOME\n",
    ],
    ["a system error without advice", systemError("ELOOP"), "flamebox: ELOOP: something, open '/x'\n"],
    ["an interruption", new Interrupted("SIGINT", 2), "flamebox: interrupted by SIGINT\n"],
    [
      "a defect",
      new TypeError("x is not a function"),
      "flamebox: x is not a function\n  hint: this is a defect in FlameBox; run it again with --log-level debug and report what it prints\n",
    ],
    [
      "something that is no error",
      "boo",
      "flamebox: boo\n  hint: this is a defect in FlameBox; run it again with --log-level debug and report what it prints\n",
    ],
  ])("shows %s", (_, error, text) => {
    expect(render(error)).toBe(text);
  });

  it.each<[string, unknown, string, number]>([
    ["failure of run", new FlameBoxError("image-not-found", "x"), "run", 125],
    ["wrong use of run", new UsageError("x"), "run", 125],
    ["defect in run", new TypeError("x"), "run", 125],
    ["full disk in run", systemError("ENOSPC"), "run", 125],
    ["command not in the image", new FlameBoxError("command-not-found", "x"), "run", 127],
    ["command that cannot be executed", new FlameBoxError("command-not-executable", "x"), "run", 126],
    ["the same word elsewhere", new FlameBoxError("command-not-found", "x"), "pull", 1],
    ["failure of pull", new FlameBoxError("image-not-found", "x"), "pull", 1],
    ["wrong use before any command", new UsageError("x"), "", 1],
    ["Ctrl-C", new Interrupted("SIGINT", 2), "run", 130],
    ["SIGTERM", new Interrupted("SIGTERM", 15), "pull", 143],
  ])("exits after %s", (_, error, command, exitCode) => {
    expect(describeFailure(error, command).exitCode).toBe(exitCode);
  });

  it("is one JSON object with --json", () => {
    const withHint = new FlameBoxError("a-b", "line\nbreak", { hint: "do" });
    expect(render(withHint, { json: true, debug: true })).toBe(
      '{"error":{"code":"a-b","message":"line\\nbreak","hint":"do"}}\n',
    );
    expect(JSON.parse(render(new Error("x"), { json: true, debug: false }))).toMatchObject({
      error: { code: "internal" },
    });
    expect(JSON.parse(render(systemError("EIO"), { json: true, debug: false }))).toEqual({
      error: { code: "system", message: "EIO: something, open '/x'" },
    });
  });

  it("tells the causes at level debug", () => {
    const inner = Object.assign(new Error("reset\nby peer"), { code: "ECONNRESET" });
    const outer = new FlameBoxError("pull-failed", "it failed", {
      cause: new Error("middle", { cause: inner }),
    });
    const lines = render(outer, { json: false, debug: true }).split("\n");
    expect(lines.slice(0, 3)).toEqual([
      "flamebox: it failed",
      "  cause: Error: middle",
      "  cause: Error: reset\\nby peer (ECONNRESET)",
    ]);
    expect(lines[3]).toMatch(/^ {2}at /);
    expect(render(outer)).toBe("flamebox: it failed\n");
  });

  it("ends with causes that go round in circles", () => {
    const circle = new Error("a");
    circle.cause = circle;
    expect(render(circle, { json: false, debug: true }).match(/cause:/g)).toHaveLength(8);
  });

  it("keeps a broken pipe what it is", () => {
    const pipe = systemError("EPIPE");
    expect(outputFailure(pipe, "standard output")).toBe(pipe);
    const full = outputFailure(systemError("ENOSPC"), "standard output");
    expect(full).toBeInstanceOf(CliError);
    expect(describeFailure(full, "images")).toMatchObject({
      code: "output-failed",
      message: "standard output cannot be written: ENOSPC: something, open '/x'",
    });
  });
});
