import type { Command } from "commander";
import { firecrackerFrom, pathsFrom } from "../args/access.ts";
import { declareRunOptions } from "../args/run-declarations.ts";
import type { RunFlags } from "../args/run-options.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { openIdFile, type IdFile } from "../output/id-file.ts";
import { checkTerminal } from "../session/session.ts";
import type { CreateOptions, Library, OperationOptions } from "../library.ts";
import type { Reporter } from "../output/reporter.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { interruptible } from "../signals.ts";
import { teach } from "./describe.ts";

async function run(
  context: CliContext,
  image: string,
  words: readonly string[],
  command: Command,
): Promise<void> {
  // All at once: each takes a turn of the disk and of the module loader.
  const [{ containerOptions, loadRunFiles }, { volumeNotices }, sessions, keys, reporters] =
    await Promise.all([
      import("../args/run-options.ts"),
      import("../args/mounts.ts"),
      import("../session/run-session.ts"),
      import("../session/detach-keys.ts"),
      import("../output/reporter.ts"),
    ]);
  const flags = command.opts<RunFlags>();
  const settings = settingsOf(command);
  if (settings.format !== undefined)
    throw new UsageError("--format is of no use to run: its output is the process's");
  const options = containerOptions(flags, words, await loadRunFiles(flags, context.env), context.env);
  const manner = {
    interactive: flags.interactive ?? false,
    tty: flags.tty ?? false,
    ...(flags.detachKeys === undefined ? {} : { detachKeys: keys.parseDetachKeys(flags.detachKeys) }),
  };
  const detach = flags.detach ?? false;
  if (!detach) checkTerminal(context, manner);
  const idFile = await openIdFile(flags.cidfile);
  const library = await context.loadLibrary();
  const reporter = reporters.createReporter(context, settings);
  try {
    for (const notice of volumeNotices(flags.volume)) reporter.onNotice(notice);
    const surroundings = { paths: pathsFrom(context.env, library), ...firecrackerFrom(context.env) };
    const plan = { image, options: { ...options, ...surroundings }, ...manner };
    if (detach) await runDetached({ context, library, reporter, idFile }, { ...plan, tty: manner.tty });
    else
      context.outcome.exitCode = await sessions.runSession(context, library, plan, {
        reporter,
        onStarted: ({ id }) => idFile?.write(id),
      });
  } finally {
    reporter.stop();
  }
}

interface Surroundings {
  readonly context: CliContext;
  readonly library: Library;
  readonly reporter: Reporter;
  readonly idFile: IdFile | undefined;
}

interface DetachedPlan {
  readonly image: string;
  readonly options: CreateOptions & Pick<OperationOptions, "paths">;
  readonly tty: boolean;
}

/** A terminal that nobody looks at yet has the size that everything assumes. */
const UNSEEN = { columns: 80, rows: 24 };

async function runDetached(
  { context, library, reporter, idFile }: Surroundings,
  { image, options, tty }: DetachedPlan,
): Promise<void> {
  const { onProgress, onNotice } = reporter;
  const { id } = await interruptible(context, async (signal) =>
    library.runDetached(image, { ...options, ...(tty && { tty: UNSEEN }), signal, onProgress, onNotice }),
  );
  reporter.stop();
  idFile?.write(id);
  const { print } = await import("../output/print.ts");
  await print(context, `${id}\n`);
}

/** Defines `run`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Run a command in a new container, alone in a microVM of its own.")
    .argument(
      "<image>",
      "image reference: alpine, ghcr.io/owner/name:tag, name@sha256:…; dir:ROOTFS; see pull",
    )
    .argument("[command...]", "command and its arguments; default: the image's")
    .passThroughOptions();
  command.option("-d, --detach", "leave it running, and print its id");
  declareRunOptions(command);
  addCommonOptions(command, { format: false, helpFlags: "--help" });
  teach(command, {
    examples: [
      ["flamebox run alpine uname -r", "the kernel inside is not the host's"],
      ["flamebox run -it --rm debian bash", "a shell with a terminal"],
      ["flamebox run -d --name web -p 8080:80 nginx", "a server that goes on; see ps, logs, exec, stop"],
      ["echo hi | flamebox run -i alpine cat", "a pipe through a machine"],
      ["flamebox run -p 8080:80 -m 1g nginx", "a server at http://127.0.0.1:8080"],
      [
        "flamebox run --rm dir:./rootfs /bin/sh -c id",
        "a directory as the root file system; tar:FILE an archive",
      ],
      ["flamebox run -e TOKEN --network none alpine env", "a variable of yours, and no network"],
      ["flamebox run -m 256m --cpus 1.5 --pids-limit 100 alpine nproc", "limits, and a machine to fit them"],
      [
        "flamebox run --read-only --tmpfs /run --cap-drop ALL nginx",
        "little to break, and little to break it with",
      ],
    ],
    notes: [
      "Options behind IMAGE belong to the command. The exit code is the process's own; 128+n when signal n ended it; 125 when FlameBox failed; 126 when the command cannot be executed; 127 when it is not in the image.",
      "--memory is the container's limit. Its machine has that and what a kernel needs: 92 MiB, 1/16 of the machine, 4 MiB for each vCPU but the first, 64 MiB above 512 MiB, 104 MiB more from 2816 MiB. Without --memory the machine has 512 MiB, and the container 388 of them.",
      "--cpus counts CPUs of this host; the machine has as many vCPUs, rounded up. --security-opt, --ulimit, --sysctl, --mount, --tmpfs, --device and the --health-… options are written as Docker's.",
      "Ports are published on 127.0.0.1 unless an ADDRESS says otherwise. Signals are handed to the process; a second Ctrl-C within two seconds, or a third, ends the machine. With -it every key is the container's but the detach keys, which leave it running; flamebox attach comes back to it.",
      "A container stays when it has ended, with its files and its log, until flamebox rm; --rm removes it. Without -d and -it it is run by this command, and ends with it, should the command be killed; with -d or -it a process of its own runs it.",
      "Egress rules are TARGET[:PORTS][/tcp|udp|icmp]: an address or a network, a name, '*.' and a domain for the names below it, or '*'. Rules that deny count more. The host's own and link-local addresses are out of reach unless a rule allows just them; docs/security.md.",
    ],
  });
  command.action(async (image: string, words: string[]) => run(context, image, words, command));
}
