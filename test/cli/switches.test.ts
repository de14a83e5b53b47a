/** Switches with a value behind them, on every command. */
import type { Command } from "commander";
import { beforeEach, describe, expect, it } from "vitest";
import { execute } from "../../src/cli/execute.ts";
import { createProgram } from "../../src/cli/program.ts";
import { fakeContext } from "./fake-context.ts";

let root: Command;
beforeEach(async () => {
  const program = createProgram(fakeContext());
  await program.loadAll();
  ({ root } = program);
});

function find(name: string): Command {
  return name.split(" ").reduce((command, word) => {
    const inner = command.commands.find((one) => one.name() === word);
    if (inner === undefined) throw new Error(`there is no command ${name}`);
    return inner;
  }, root);
}

describe("switches", () => {
  it.each<[string, string[], object]>([
    ["ps", ["--all=true", "--no-trunc=true", "--quiet=false"], { all: true, trunc: false, quiet: false }],
    ["container ls", ["--latest=false", "--no-trunc=false"], { latest: false, trunc: true }],
    ["exec", ["-i", "--tty=true", "--detach=false", "web", "sh"], { tty: true, detach: false }],
    ["logs", ["--follow=true", "--timestamps=false", "web"], { follow: true, timestamps: false }],
    ["history", ["--human=false", "x"], { human: false }],
    ["history", ["--no-human", "--human", "x"], { human: true }],
    ["attach", ["--sig-proxy=false", "web"], { sigProxy: false, stdin: true }],
    ["attach", ["--no-stdin=true", "web"], { stdin: false, sigProxy: true }],
    ["start", ["--attach=true", "--sig-proxy=false", "web"], { attach: true, sigProxy: false }],
    ["rm", ["--force=true", "--volumes=true", "web"], { force: true, volumes: true }],
    ["image prune", ["--all=true", "--force=false"], { all: true, force: false }],
    ["system prune", ["--all=false", "--force=true"], { all: false, force: true }],
    ["network create", ["--internal=false", "shop"], { internal: false }],
    ["stats", ["--no-stream=false"], { stream: true }],
  ])("of %s: %j", (name, words, flags) => {
    const command = find(name);
    command.parseOptions([...words]);
    expect(command.opts()).toMatchObject(flags);
  });

  it("are all of them, of every command", () => {
    const walk = (command: Command): void => {
      const longs = new Set(command.options.map(({ long }) => long));
      for (const { long, required, optional, hidden } of command.options) {
        if (!long || required || optional || hidden || long === "--version") continue;
        expect([command.name(), longs.has(`${long}=true`), longs.has(`${long}=false`)]).toEqual([
          command.name(),
          true,
          true,
        ]);
      }
      command.commands.forEach(walk);
    };
    walk(root);
  });

  it("of the program stand before the command", async () => {
    const context = fakeContext();
    expect(await execute(["--json=true", "version"], context)).toBe(0);
    expect(JSON.parse(context.stdout.text)).toMatchObject({ version: "1.2.3" });
  });

  it.each([
    ["another value", ["ps", "--all=maybe"], "unknown option '--all=maybe'"],
    [
      "a value behind an option that takes another",
      ["ps", "--last=true"],
      "--last 'true' is not a whole number",
    ],
    ["run's signals", ["run", "--sig-proxy=false", "x"], "--sig-proxy=false is not supported"],
  ])("%s is refused", async (_, words, said) => {
    const context = fakeContext();
    expect(await execute(words, context)).toBeGreaterThan(0);
    expect(context.stderr.text).toContain(said);
  });

  it("are not shown with their values", async () => {
    const context = fakeContext();
    await execute(["ps", "--help"], context);
    expect(context.stdout.text).not.toContain("=true");
  });
});
