import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { cliReference } from "../../src/cli/docs.ts";
import { execute } from "../../src/cli/execute.ts";
import { createProgram } from "../../src/cli/program.ts";
import { type FakeContext, fakeContext } from "./fake-context.ts";

async function execution(words: readonly string[]): Promise<{ exitCode: number; context: FakeContext }> {
  const context = fakeContext();
  return { exitCode: await execute(words, context), context };
}

describe("wrong command lines", () => {
  it.each<[string, string[], number, string]>([
    [
      "an unknown command",
      ["rnu"],
      1,
      "flamebox: unknown command 'rnu'\n  hint: did you mean run? see 'flamebox --help'\n",
    ],
    [
      "an unknown command like no other",
      ["frobnicate"],
      1,
      "flamebox: unknown command 'frobnicate'\n  hint: see 'flamebox --help'\n",
    ],
    [
      "an unknown option",
      ["--jsn", "images"],
      1,
      "flamebox: unknown option '--jsn'\n  hint: did you mean --json? see 'flamebox --help'\n",
    ],
    [
      "an unknown option of a command",
      ["images", "--digest"],
      1,
      "flamebox: unknown option '--digest'\n  hint: did you mean --digests? see 'flamebox images --help'\n",
    ],
    [
      "an unknown option of run",
      ["run", "--evn", "A=1", "x"],
      125,
      "flamebox: unknown option '--evn'\n  hint: did you mean --env? see 'flamebox run --help'\n",
    ],
    [
      "--link, which is not there",
      ["run", "--link", "n", "x"],
      125,
      "flamebox: --link is not supported: containers see each other by name in a network\n  hint: make one with flamebox network create, and use --network\n",
    ],
    [
      "run without an image",
      ["run", "-it"],
      125,
      "flamebox: missing required argument 'image'\n  hint: see 'flamebox run --help'\n",
    ],
    [
      "pull without an image",
      ["pull"],
      1,
      "flamebox: missing required argument 'image'\n  hint: see 'flamebox pull --help'\n",
    ],
    [
      "pull of two images",
      ["pull", "a", "b"],
      1,
      "flamebox: too many arguments for 'pull'. Expected 1 argument but got 2.\n  hint: see 'flamebox pull --help'\n",
    ],
    [
      "rmi of nothing",
      ["rmi"],
      1,
      "flamebox: missing required argument 'image'\n  hint: see 'flamebox rmi --help'\n",
    ],
    [
      "rootfs without a file",
      ["rootfs", "a"],
      1,
      "flamebox: required option '-o, --output <file>' not specified\n  hint: see 'flamebox rootfs --help'\n",
    ],
    [
      "rootfs in a format that there is not",
      ["rootfs", "a", "-o", "x", "--format", "zip"],
      1,
      "flamebox: option '--format <format>' argument 'zip' is invalid. Allowed choices are erofs, ext4, squashfs, tar.\n  hint: see 'flamebox rootfs --help'\n",
    ],
    [
      "a template for what rootfs says",
      ["--format", "{{.Path}}", "rootfs", "a", "-o", "x"],
      1,
      "flamebox: --format is of no use before rootfs\n  hint: behind it, it says what to write\n",
    ],
    [
      "a size for a format that has none",
      ["rootfs", "a", "-o", "x", "--size", "1g"],
      1,
      "flamebox: --size is of no use to erofs\n  hint: it is the size of an ext4 disk: --format ext4\n",
    ],
    [
      "a disk to standard output",
      ["rootfs", "a", "-o", "-", "--format", "ext4"],
      1,
      "flamebox: ext4 cannot be written to standard output\n  hint: only --format tar can\n",
    ],
    [
      "an option without its value",
      ["run", "-e"],
      125,
      "flamebox: option '-e, --env <variable>' argument missing\n  hint: see 'flamebox run --help'\n",
    ],
    [
      "the host's network",
      ["run", "--network", "host", "x"],
      125,
      "flamebox: --network host is not supported: a machine has a network of its own\n  hint: publish ports with -p\n",
    ],
    [
      "another container's network",
      ["run", "--network=container:other", "x"],
      125,
      "flamebox: --network 'container:other' is not supported: containers run in machines of their own, and share no interface\n  hint: put both into a network: flamebox network create NAME\n",
    ],
    [
      "a network that has no such name",
      ["run", "--network", "my net", "x"],
      125,
      "flamebox: --network 'my net' is not a network's name\n  hint: write user, none, a name, or cni:NAME\n",
    ],
    [
      "a bad size",
      ["run", "-m", "lots", "x"],
      125,
      "flamebox: --memory 'lots' is not a size\n  hint: write a number with b, k, m, g or t behind it, as in 512m\n",
    ],
    [
      "--format for run",
      ["--format", "json", "run", "x"],
      125,
      "flamebox: --format is of no use to run: its output is the process's\n",
    ],
    [
      "-it without a terminal",
      ["run", "-it", "x"],
      125,
      "flamebox: the input device is not a TTY\n  hint: leave out -t to read from a pipe or a file, or -i\n",
    ],
    [
      "a bad log level",
      ["--log-level", "loud", "images"],
      1,
      "flamebox: option '--log-level <level>' argument 'loud' is invalid. Allowed choices are error, warn, info, debug.\n  hint: see 'flamebox --help'\n",
    ],
    [
      "two styles at once",
      ["images", "--json", "--format", "json"],
      1,
      '{"error":{"code":"usage","message":"--json and --format exclude each other"}}\n',
    ],
    [
      "a bad template",
      ["images", "--format", "{{.Nme}}"],
      1,
      "flamebox: --format: there is no field .Nme, at character 3\n  hint: fields here: .Repository .Tag .Reference .ID .Digest .Platform .Size .CreatedAt .CreatedSince .PulledAt\n",
    ],
    [
      "an unknown command of a command",
      ["template", "list"],
      1,
      "flamebox: unknown command 'list'\n  hint: did you mean ls? see 'flamebox template --help'\n",
    ],
    [
      "a command of a command without its argument",
      ["template", "rm"],
      1,
      "flamebox: missing required argument 'key'\n  hint: see 'flamebox template rm --help'\n",
    ],
    [
      "--format where there is no list",
      ["--format", "json", "template", "build"],
      1,
      "flamebox: --format is only for template ls\n  hint: use --json\n",
    ],
    [
      "jobs that are no number",
      ["kernel", "build", "--jobs", "many"],
      1,
      "flamebox: --jobs takes a number from 1, not 'many'\n",
    ],
    [
      "--format where no kernels are listed",
      ["--format", "json", "kernel", "use", "a"],
      1,
      "flamebox: --format is only for kernel ls\n  hint: use --json\n",
    ],
    [
      "an unknown shell",
      ["completion", "tcsh"],
      1,
      "flamebox: command-argument value 'tcsh' is invalid for argument 'shell'. Allowed choices are bash, zsh, fish.\n  hint: see 'flamebox completion --help'\n",
    ],
    [
      "help for what is not there",
      ["help", "nothing"],
      1,
      "flamebox: unknown command 'nothing'\n  hint: see 'flamebox help --help'\n",
    ],
    [
      "an option with an escape sequence",
      ["--\u001b[2J"],
      1,
      "flamebox: unknown option '--\\x1b[2J'\n  hint: see 'flamebox --help'\n",
    ],
  ])("%s", async (_, words, exitCode, stderr) => {
    const made = await execution(words);
    expect(made.context.stderr.text).toBe(stderr);
    expect(made.context.stdout.text).toBe("");
    expect(made.exitCode).toBe(exitCode);
  });

  it("are the help of a command that has commands of its own, and was given none", async () => {
    const { exitCode, context } = await execution(["template"]);
    expect([exitCode, context.stdout.text]).toEqual([1, ""]);
    expect(context.stderr.text).toMatch(/^Usage: flamebox template [^]* {2}prune /);
    expect(context.stderr.text).not.toContain("outputHelp");
  });

  it("are JSON with --json, wherever it stands", async () => {
    for (const words of [
      ["--json", "images", "--no"],
      ["images", "--json", "--no"],
    ]) {
      const { context } = await execution(words);
      expect(JSON.parse(context.stderr.text)).toEqual({
        error: { code: "usage", message: "unknown option '--no'", hint: "see 'flamebox images --help'" },
      });
    }
  });
});

describe("help and version", () => {
  it.each([
    ["no words at all", []],
    ["--help", ["--help"]],
    ["-h", ["-h"]],
    ["help", ["help"]],
  ])("%s shows all commands and examples", async (_, words) => {
    const { exitCode, context } = await execution(words);
    expect(exitCode).toBe(0);
    expect(context.stderr.text).toBe("");
    for (const part of [
      "Usage: flamebox [options] COMMAND",
      "  run  ",
      "  completion  ",
      "Examples:",
      "$ flamebox run -it debian bash",
    ]) {
      expect(context.stdout.text).toContain(part);
    }
    expect(context.stdout.text).not.toContain("__");
  });

  it.each([
    ["run", ["run", "--help"]],
    ["run", ["help", "run"]],
    ["images", ["images", "-h"]],
    ["rootfs", ["rootfs", "--help"]],
    ["template build", ["template", "build", "--help"]],
  ])("of %s teaches with examples", async (name, words) => {
    const { exitCode, context } = await execution(words);
    expect(exitCode).toBe(0);
    expect(context.stdout.text).toContain(`Usage: flamebox ${name} [options]`);
    expect(context.stdout.text).toContain(`  $ flamebox ${name}`);
  });

  it("every command has an example, a description and a summary", async () => {
    const program = createProgram(fakeContext());
    await program.loadAll();
    for (const command of program.root.createHelp().visibleCommands(program.root)) {
      expect([command.name(), command.description() !== "", command.summary() !== ""]).toEqual([
        command.name(),
        true,
        true,
      ]);
      expect(cliReference(program.root)).toContain(`\nflamebox ${command.name()}`);
    }
  });

  it.each([
    ["the option", ["--version"], "1.2.3\n"],
    ["the short option", ["-v"], "1.2.3\n"],
    ["the command, quiet", ["version", "-q"], "1.2.3\n"],
    ["a template", ["version", "--format", "v{{.Version}}"], "v1.2.3\n"],
    ["a template before the command", ["--format", "v{{.Version}}", "version"], "v1.2.3\n"],
  ])("version by %s", async (_, words, stdout) => {
    const { exitCode, context } = await execution(words);
    expect([exitCode, context.stdout.text, context.stderr.text]).toEqual([0, stdout, ""]);
  });

  it("version as JSON", async () => {
    const { context } = await execution(["version", "--json"]);
    expect(JSON.parse(context.stdout.text)).toMatchObject({ version: "1.2.3", node: process.versions.node });
  });
});

describe("docs/cli.md", () => {
  it("is what the command tree says; regenerate it with: flamebox __docs > docs/cli.md", async () => {
    const { exitCode, context } = await execution(["__docs"]);
    expect(exitCode).toBe(0);
    const path = new URL("../../docs/cli.md", import.meta.url);
    expect(context.stdout.text).toBe(await readFile(path, "utf8"));
  });
});
