/**
 * The tree of commands. Of a command that is not used, only the name and a line are known here; its file is
 * loaded when its name is met on the command line, or when the whole tree is to be described.
 */
import { Command } from "commander";
import { addSwitchValues } from "./args/switches.ts";
import { lessonsOf, nameOf, teach } from "./commands/describe.ts";
import type { CliContext } from "./context.ts";
import { addCommonOptions } from "./settings.ts";

interface CommandModule {
  define(command: Command, context: CliContext): void;
}

interface Entry {
  readonly name: string;
  readonly summary: string;
  readonly hidden?: boolean;
  readonly load: () => Promise<CommandModule>;
}

const ENTRIES: readonly Entry[] = [
  {
    name: "run",
    summary: "run a command in a new container, in a microVM of its own",
    load: () => import("./commands/run.ts"),
  },
  {
    name: "create",
    summary: "make a container, and do not start it",
    load: () => import("./commands/create.ts"),
  },
  { name: "start", summary: "start containers that do not run", load: () => import("./commands/start.ts") },
  { name: "stop", summary: "ask containers to end", load: () => import("./commands/stop.ts") },
  { name: "restart", summary: "stop containers and start them", load: () => import("./commands/restart.ts") },
  { name: "kill", summary: "send a signal to containers", load: () => import("./commands/kill.ts") },
  { name: "pause", summary: "halt containers", load: () => import("./commands/pause.ts") },
  { name: "unpause", summary: "let halted containers go on", load: () => import("./commands/unpause.ts") },
  { name: "wait", summary: "wait until containers have ended", load: () => import("./commands/wait.ts") },
  { name: "rm", summary: "remove containers", load: () => import("./commands/rm.ts") },
  { name: "rename", summary: "give a container another name", load: () => import("./commands/rename.ts") },
  {
    name: "update",
    summary: "change what containers were made with",
    load: () => import("./commands/update.ts"),
  },
  { name: "ps", summary: "list containers", load: () => import("./commands/ps.ts") },
  {
    name: "inspect",
    summary: "show all that is known of containers or images",
    load: () => import("./commands/inspect.ts"),
  },
  {
    name: "exec",
    summary: "run a command in a container that runs",
    load: () => import("./commands/exec.ts"),
  },
  { name: "attach", summary: "attach to a container that runs", load: () => import("./commands/attach.ts") },
  { name: "logs", summary: "show what a container has written", load: () => import("./commands/logs.ts") },
  { name: "port", summary: "show where ports are published", load: () => import("./commands/port.ts") },
  { name: "cp", summary: "copy files in and out of a container", load: () => import("./commands/cp.ts") },
  { name: "diff", summary: "show what a container has changed", load: () => import("./commands/diff.ts") },
  { name: "commit", summary: "make an image of a container", load: () => import("./commands/commit.ts") },
  {
    name: "export",
    summary: "write a container's files as an archive",
    load: () => import("./commands/export.ts"),
  },
  {
    name: "top",
    summary: "watch containers, or a container's processes",
    load: () => import("./commands/top.ts"),
  },
  { name: "stats", summary: "show what containers use", load: () => import("./commands/stats.ts") },
  {
    name: "container",
    summary: "manage containers",
    load: () => import("./commands/container.ts"),
  },
  { name: "events", summary: "show what happens to containers", load: () => import("./commands/events.ts") },
  {
    name: "pull",
    summary: "fetch an image and make it ready to run",
    load: () => import("./commands/pull.ts"),
  },
  { name: "images", summary: "list the images that are here", load: () => import("./commands/images.ts") },
  { name: "rmi", summary: "remove images", load: () => import("./commands/rmi.ts") },
  { name: "tag", summary: "give an image another name", load: () => import("./commands/tag.ts") },
  { name: "push", summary: "send an image to a registry", load: () => import("./commands/push.ts") },
  { name: "save", summary: "write images to an archive", load: () => import("./commands/save.ts") },
  { name: "load", summary: "load images from an archive", load: () => import("./commands/load.ts") },
  {
    name: "import",
    summary: "make an image of a file system's archive",
    load: () => import("./commands/import.ts"),
  },
  { name: "history", summary: "show how an image was made", load: () => import("./commands/history.ts") },
  { name: "image", summary: "manage images", load: () => import("./commands/image.ts") },
  { name: "login", summary: "log in to a registry", load: () => import("./commands/login.ts") },
  { name: "logout", summary: "forget a registry's credentials", load: () => import("./commands/logout.ts") },
  {
    name: "system",
    summary: "look after all that is on disk",
    load: () => import("./commands/system.ts"),
  },
  {
    name: "rootfs",
    summary: "write an image's root file system to a file",
    load: () => import("./commands/rootfs.ts"),
  },
  {
    name: "doctor",
    summary: "say what this host can do and what is missing",
    load: () => import("./commands/doctor.ts"),
  },
  {
    name: "setup",
    summary: "put the kernel and the guest in place",
    load: () => import("./commands/setup.ts"),
  },
  {
    name: "template",
    summary: "manage the saved machines that containers start from",
    load: () => import("./commands/template.ts"),
  },
  {
    name: "kernel",
    summary: "manage the kernels that machines boot",
    load: () => import("./commands/kernel.ts"),
  },
  {
    name: "network",
    summary: "manage networks that containers share",
    load: () => import("./commands/network.ts"),
  },
  { name: "version", summary: "show versions", load: () => import("./commands/version.ts") },
  {
    name: "completion",
    summary: "print a completion script for a shell",
    load: () => import("./commands/completion.ts"),
  },
  { name: "man", summary: "write manual pages", load: () => import("./commands/man.ts") },
  { name: "help", summary: "show the help of a command", load: () => import("./commands/help.ts") },
  { name: "__docs", summary: "print docs/cli.md", hidden: true, load: () => import("./commands/docs.ts") },
  {
    name: "__complete",
    summary: "print what could stand here",
    hidden: true,
    load: () => import("./commands/complete.ts"),
  },
];

export interface Program {
  readonly root: Command;
  /** Name of the command that was met on the command line; "" before. */
  activeName(): string;
  activeCommand(): Command;
  /** Completes the tree. */
  loadAll(): Promise<void>;
}

const ROOT_LESSONS = {
  examples: [
    ["flamebox run alpine echo hello", "pull alpine, boot a machine, run a command in it"],
    ["flamebox run -it debian bash", "a shell"],
    ["flamebox doctor", "why it does not work, or how it does"],
  ],
  notes: ["See 'flamebox COMMAND --help' for the options of a command and for more examples."],
} as const;

/** `programs` is given to those commands that describe the others. */
export function createProgram(context: CliContext): Program {
  const root = new Command("flamebox");
  const defined = new Set<Command>();
  let active = root;

  const complete = async (command: Command): Promise<void> => {
    const entry = ENTRIES.find(({ name }) => name === command.name());
    if (entry === undefined || defined.has(command)) return;
    defined.add(command);
    const module = await entry.load();
    module.define(command, context);
    addSwitchValues(command);
    command.hook("preSubcommand", (_, inner) => {
      active = inner;
    });
  };

  root
    .description("Run any OCI image in a microVM of its own.")
    .usage("[options] COMMAND")
    .version(context.version, "-v, --version", "show the version")
    .helpCommand(false)
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .exitOverride()
    // Errors go through our funnel, so commander must not print them as well.
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      getOutHelpWidth: () => helpWidth(context),
      getErrHelpWidth: () => helpWidth(context),
      outputError: () => {},
    })
    .configureHelp({ subcommandTerm: (command) => command.name() });
  addCommonOptions(root, { format: true, helpFlags: "-h, --help" });
  root.optionsGroup("");
  addSwitchValues(root);
  teach(root, ROOT_LESSONS);

  for (const { name, summary, hidden = false } of ENTRIES) {
    root.command(name, { hidden }).summary(summary);
  }
  root.hook("preSubcommand", async (_, command) => {
    active = command;
    await complete(command);
  });
  return {
    root,
    activeName: () => nameOf(active),
    activeCommand: () => active,
    loadAll: async () => {
      for (const command of root.commands) await complete(command);
    },
  };
}

const MAX_HELP_COLUMNS = 100;

function helpWidth(context: CliContext): number {
  return context.stdout.isTTY === true ? Math.min(context.stdout.columns ?? 80, MAX_HELP_COLUMNS) : 80;
}

/** What a person may see of the tree. */
export function visibleCommands(root: Command): Command[] {
  return root.createHelp().visibleCommands(root);
}

export { lessonsOf };
