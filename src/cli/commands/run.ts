import { type Command, Option } from "commander";
import { pathsFrom } from "../args/access.ts";
import type { EnvEntry } from "../args/environment.ts";
import type { RunFlags } from "../args/run-options.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";

async function run(
  context: CliContext,
  image: string,
  words: readonly string[],
  command: Command,
): Promise<void> {
  const { containerOptions } = await import("../args/run-options.ts");
  const { loadEnvFile } = await import("../args/environment.ts");
  const { checkTerminal, runSession } = await import("../session/session.ts");
  const { createReporter } = await import("../output/reporter.ts");
  const flags = command.opts<RunFlags>();
  const settings = settingsOf(command);
  if (settings.format !== undefined)
    throw new UsageError("--format is of no use to run: its output is the process's");
  const fileEntries: EnvEntry[] = [];
  for (const path of flags.envFile ?? []) fileEntries.push(...(await loadEnvFile(path, context.env)));
  const options = containerOptions(flags, words, fileEntries, context.env);
  const manner = { interactive: flags.interactive ?? false, tty: flags.tty ?? false };
  checkTerminal(context, manner);
  const library = await context.loadLibrary();
  const reporter = createReporter(context, settings);
  try {
    const plan = { image, options: { ...options, paths: pathsFrom(context.env, library) }, ...manner };
    context.outcome.exitCode = await runSession(context, library, plan, reporter);
  } finally {
    reporter.stop();
  }
}

function addProcessOptions(command: Command): void {
  command
    .optionsGroup("Process:")
    .option("-i, --interactive", "give standard input to the process")
    .option("-t, --tty", "give the process a terminal")
    .option("-e, --env <variable>", "set KEY=VALUE, or take KEY from this environment (repeatable)", collect)
    .option("--env-file <file>", "read variables from a file, one a line (repeatable)", collect)
    .option("-w, --workdir <dir>", "working directory, an absolute path")
    .option("-u, --user <user>", "NAME or UID, with :GROUP or :GID")
    .option("--group-add <group>", "a further group (repeatable)", collect)
    .option("-v, --volume <mount>", "a host folder or file, HOST:PATH[:ro] (repeatable)", collect)
    .option("--entrypoint <program>", "replace the image's entry point; '' takes it away")
    .option("--rm", "remove the container when it ends; always so today, accepted for Docker's sake");
}

function addNetworkOptions(command: Command): void {
  command
    .optionsGroup("Network:")
    .option("-h, --hostname <name>", "host name in the container")
    .option("--add-host <host:address>", "a line for /etc/hosts (repeatable)", collect)
    .option("--dns <address>", "a name server (repeatable)", collect)
    .option("-p, --publish <mapping>", "[ADDRESS:]HOST:CONTAINER[/tcp|udp] (repeatable)", collect)
    .addOption(
      new Option("--network <kind>", "user: outbound through the host; none: no network").choices([
        "user",
        "none",
      ]),
    );
}

function addMachineOptions(command: Command): void {
  command
    .optionsGroup("Image and machine:")
    .addOption(
      new Option("--pull <when>", "when to ask the registry").choices(["always", "missing", "never"]),
    )
    .option("--platform <platform>", "os/architecture[/variant]; default: the host's")
    .option("--insecure", "allow http and unverified TLS for the registry")
    .option("--cpus <count>", "vCPUs; default 1")
    .option("-m, --memory <size>", "memory of the machine, as in 512m or 2g; default 512m")
    .option("--storage-size <size>", "size of the writable disk, sparse; default 10g")
    .option("--kernel <file>", "a kernel of your own (bzImage)")
    .option("--require-kvm", "fail rather than run under software emulation");
}

/** Defines `run`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Run a command in a new container, alone in a microVM of its own.")
    .argument("<image>", "image reference: alpine, ghcr.io/owner/name:tag, name@sha256:…")
    .argument("[command...]", "command and its arguments; default: the image's")
    .passThroughOptions();
  addProcessOptions(command);
  addNetworkOptions(command);
  addMachineOptions(command);
  addCommonOptions(command, { format: false, helpFlags: "--help" });
  teach(command, {
    examples: [
      ["flamebox run alpine uname -r", "the kernel inside is not the host's"],
      ["flamebox run -it --rm debian bash", "a shell with a terminal"],
      ["echo hi | flamebox run -i alpine cat", "a pipe through a machine"],
      ["flamebox run -p 8080:80 -m 1g nginx", "a server at http://127.0.0.1:8080"],
      ["flamebox run -e TOKEN --network none alpine env", "a variable of yours, and no network"],
    ],
    notes: [
      "Options behind IMAGE belong to the command. The exit code is the process's own; 128+n when signal n ended it; 125 when FlameBox failed; 126 when the command cannot be executed; 127 when it is not in the image.",
      "Ports are published on 127.0.0.1 unless an ADDRESS says otherwise. Signals are handed to the process; a second Ctrl-C within two seconds, or a third, ends the machine.",
    ],
  });
  command.action(async (image: string, words: string[]) => run(context, image, words, command));
}
