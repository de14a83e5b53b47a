/** `network create|ls|inspect|connect|disconnect|rm|prune`: networks in which containers reach each other by name. */
import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { NetworkInfo } from "../library.ts";
import { addCommonOptions, addShortFormat, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";
import type { Operation } from "./operation.ts";

interface CreateFlags {
  readonly subnet?: string;
  readonly internal?: boolean;
  readonly label?: readonly string[];
}

async function create(context: CliContext, name: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { parseLabel, recordOf } = await import("../args/labels.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const { subnet, internal, label = [] } = command.opts<CreateFlags>();
  const labels = recordOf(label.map((text) => parseLabel(text)));
  const network = await operate(context, settings, async ({ library, options }) =>
    library.createNetwork(name, { ...options, subnet, internal, labels }),
  );
  await print(context, settings.json ? toJson(network) : `${network.name}\n`);
}

async function list(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatNetworks } = await import("../output/networks.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const format = formatNetworks(settings.format, context.clock.now());
  const { cniFrom } = await import("../args/access.ts");
  const networks = await operate(context, settings, async ({ library, options }) => [
    ...(await library.listNetworks(options)).map((info) => ({ ...info, driver: "flamebox" as const })),
    ...(await library.listCniNetworks(cniFrom(context.env))),
  ]);
  if (settings.json) await print(context, toJson(networks));
  else if (settings.quiet && settings.format === undefined)
    await print(context, networks.map(({ name }) => `${name}\n`).join(""));
  else await print(context, format(networks));
}

async function inspect(context: CliContext, names: readonly string[], command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { networkDocument } = await import("../output/networks.ts");
  const { compileDocument } = await import("../output/template.ts");
  const settings = settingsOf(command);
  const format = settings.format === undefined ? undefined : compileDocument(settings.format);
  const networks = await operate(context, settings, async ({ library, options }) => {
    const found: NetworkInfo[] = [];
    for (const name of names) found.push(await library.inspectNetwork(name, options));
    return found;
  });
  const documents = networks.map(networkDocument);
  await print(context, format === undefined ? toJson(documents) : documents.map(format).join(""));
}

interface ConnectFlags {
  readonly alias?: readonly string[];
  readonly ip?: string;
}

/** What the container is like then: `connect` and `disconnect`. */
async function changeNetwork(
  context: CliContext,
  command: Command,
  change: (operation: Operation) => Promise<object>,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const changed = await operate(context, settings, change);
  if (settings.json) await print(context, toJson(changed));
}

/** Docker's words for the network that every container has without a choice. */
function ownWord(network: string): string {
  return network === "bridge" || network === "default" ? "user" : network;
}

async function remove(context: CliContext, names: readonly string[], command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const removed = await operate(context, settings, async ({ library, options }) => {
    const gone: NetworkInfo[] = [];
    for (const name of names) gone.push(await library.removeNetwork(name, options));
    return gone;
  });
  await printRemoved(context, command, removed);
}

async function prune(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const removed = await operate(context, settings, async ({ library, options }) =>
    library.pruneNetworks(options),
  );
  await printRemoved(context, command, removed);
}

async function printRemoved(
  context: CliContext,
  command: Command,
  removed: readonly NetworkInfo[],
): Promise<void> {
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  if (settings.json) return await print(context, toJson(removed));
  await print(
    context,
    removed.map(({ name }) => (settings.quiet ? `${name}\n` : `Deleted: ${name}\n`)).join(""),
  );
}

function refuseFormat(format: string | undefined): void {
  if (format !== undefined)
    throw new UsageError("--format is only for network ls and network inspect", "use --json");
}

/** Defines `network` and the commands below it. */
export function define(command: Command, context: CliContext): void {
  command.description("Manage networks, in which containers reach each other by name.");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  command.helpCommand(false);
  teach(command, {
    examples: [
      ["flamebox network create shop", "a network"],
      ["flamebox run --network shop --name db postgres", "db is its name in the network, too"],
      ["flamebox run --network shop app --database db", "and others find it by that"],
    ],
    notes: [
      "Root's containers can be in a network of CNI as well: run --network cni:NAME.",
      "A container is known by its name, its host name, its id and what --network-alias gives it; also with '.' and the network's name behind. Containers of other networks, and of none, are out of reach.",
    ],
  });
  defineCreate(command.command("create"), context);
  defineList(command.command("ls"), context);
  defineInspect(command.command("inspect"), context);
  defineConnect(command.command("connect"), context);
  defineDisconnect(command.command("disconnect"), context);
  defineRemove(command.command("rm"), context);
  definePrune(command.command("prune"), context);
}

function defineCreate(command: Command, context: CliContext): void {
  command
    .summary("make a network")
    .description("Make a network, and print its name.")
    .argument("<name>", "letters, digits, '_', '.' and '-'")
    .option("--subnet <network>", "its IPv4 addresses, as in 10.87.1.0/24; default: some that are free")
    .option("--internal", "without a way out: its containers reach each other, and nothing else")
    .option("-l, --label <label>", "KEY=VALUE (repeatable)", collect);
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox network create shop", "the usual"],
      ["flamebox network create --internal vault", "for what shall tell nobody anything"],
    ],
    notes: ["The first address of the subnet is the gateway's, which also answers for names."],
  });
  command.action(async (name: string) => create(context, name, command));
}

function defineList(command: Command, context: CliContext): void {
  command.summary("list networks").description("List the networks that are here, by name.");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox network ls", "a table"],
      ["flamebox network ls --format '{{.Name}} {{.Subnet}} {{.Members}}'", "what you choose"],
    ],
    notes: [
      "Those of CNI, which root's containers can be in, are configured in /etc/cni/net.d, or where NETCONFPATH says; run takes them as --network cni:NAME. FlameBox does not make, change or remove them.",
      "Fields for --format: .ID .Name .Driver .Subnet .IPv6Subnet .Gateway .Internal .Members .Labels .CreatedAt .CreatedSince.",
    ],
  });
  command.action(async () => list(context, command));
}

function defineInspect(command: Command, context: CliContext): void {
  command
    .summary("show networks, and who is in them")
    .description("Print all there is to know of networks, with the containers that run in them, as JSON.")
    .argument("<network...>", "their names");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox network inspect shop", "with each container's addresses, in Docker's words"],
      [
        "flamebox network inspect --format '{{range .Containers}}{{println .Name .IPv4Address}}{{end}}' shop",
        "what you choose of it",
      ],
    ],
  });
  addShortFormat(command);
  command.action(async (names: string[]) => inspect(context, names, command));
}

const AT_START =
  "A container is in one network, and that is decided at its start: it has to be stopped for this.";

function defineConnect(command: Command, context: CliContext): void {
  command
    .summary("put a container into a network")
    .description("Put a container that does not run into a network, from its next start on.")
    .argument("<network>", "its name; bridge is what containers have without a choice")
    .argument("<container>", "its name, or the beginning of its id")
    .option("--alias <name>", "another name of the container's in the network (repeatable)", collect)
    .option("--ip <address>", "its IPv4 address there; default: one that is free");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox network connect shop db", "db has been created, or has ended"],
      ["flamebox network connect --alias store --ip 10.87.1.5 shop db", "with a second name, and an address"],
    ],
    notes: [AT_START],
  });
  command.action(async (network: string, container: string) => {
    const { alias: aliases, ip: ipAddress } = command.opts<ConnectFlags>();
    await changeNetwork(context, command, async ({ library, options }) =>
      library.connectNetwork(ownWord(network), container, { ...options, aliases, ipAddress }),
    );
  });
}

function defineDisconnect(command: Command, context: CliContext): void {
  command
    .summary("take a container out of its network")
    .description("Take a container that does not run out of its network: it has none from its next start on.")
    .argument("<network>", "its name")
    .argument("<container>", "its name, or the beginning of its id");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox network disconnect shop db", "db reaches nobody, and nobody db"],
      ["flamebox network connect bridge db", "and now the world again"],
    ],
    notes: [AT_START, "Ports that it publishes are published again when it is in a network again."],
  });
  command.action(async (network: string, container: string) =>
    changeNetwork(context, command, async ({ library, options }) =>
      library.disconnectNetwork(ownWord(network), container, options),
    ),
  );
}

function defineRemove(command: Command, context: CliContext): void {
  command
    .summary("remove networks")
    .description("Remove networks that no container runs in.")
    .argument("<network...>", "their names");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox network rm shop", "one"]] });
  command.action(async (names: string[]) => remove(context, names, command));
}

function definePrune(command: Command, context: CliContext): void {
  command
    .summary("remove networks that nobody is in")
    .description("Remove every network that no container runs in, and what killed processes left.");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox network prune", "all that nobody uses now"]] });
  command.action(async () => prune(context, command));
}
