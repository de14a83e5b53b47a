/** Containers as rows: the table, and the fields that `--format` knows. */
import type { ContainerInfo, PortMapping } from "../library.ts";
import { compileTemplate, type TemplateFields, type TemplateRow } from "./template.ts";
import { truncate } from "./text.ts";
import { humanAge, humanSize } from "./units.ts";

export const CONTAINER_FIELDS: TemplateFields = {
  ID: "CONTAINER ID",
  Image: "IMAGE",
  Command: "COMMAND",
  CreatedAt: "CREATED AT",
  RunningFor: "CREATED",
  Status: "STATUS",
  State: "STATE",
  Ports: "PORTS",
  Names: "NAMES",
  Labels: "LABELS",
  Networks: "NETWORKS",
  ExitCode: "EXIT CODE",
  Health: "HEALTH",
  Size: "SIZE",
  Mounts: "MOUNTS",
  LocalVolumes: "LOCAL VOLUMES",
};
/** `{{.Label "app"}}` */
const METHODS = ["Label"];

const DEFAULT_COLUMNS = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
const COMMAND_COLUMNS = 20;
const MOUNT_COLUMNS = 15;
const SHORT_ID = 12;

/** `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`: Docker's words. */
export function statusText(container: ContainerInfo, nowMs: number): string {
  const { status, startedAt, finishedAt, exitCode = 0, health } = container;
  const since = (time: string | undefined) => humanAge(nowMs - Date.parse(time ?? "")).replace(/ ago$/, "");
  const ago = () => humanAge(nowMs - Date.parse(finishedAt ?? ""));
  const checked = health === undefined ? "" : ` (${health === "starting" ? "health: starting" : health})`;
  const texts = {
    created: () => "Created",
    running: () => `Up ${since(startedAt)}${checked}`,
    paused: () => `Up ${since(startedAt)} (Paused)`,
    restarting: () => `Restarting (${exitCode}) ${ago()}`,
    exited: () => `Exited (${exitCode}) ${ago()}`,
  };
  return texts[status]();
}

export function portText({
  hostAddress = "127.0.0.1",
  hostPort,
  containerPort,
  protocol,
}: PortMapping): string {
  const address = hostAddress.includes(":") ? `[${hostAddress}]` : hostAddress;
  return `${address}:${hostPort}->${containerPort}/${protocol}`;
}

function commandText(args: readonly string[], whole: boolean): string {
  const text = args.join(" ");
  return `"${whole ? text : truncate(text, COMMAND_COLUMNS)}"`;
}

export interface RowOptions {
  readonly nowMs: number;
  /** Whole ids and commands. */
  readonly whole: boolean;
  /** With a column of sizes. */
  readonly sizes?: boolean;
}

/** What a template asks for that a list does not have by itself. */
export function wantedBy(template: string | undefined): { sizes: boolean; surroundings: boolean } {
  const has = (pattern: RegExp) => template !== undefined && pattern.test(template);
  return { sizes: has(/\.Size\b/), surroundings: has(/\.(?:Mounts|LocalVolumes)\b|^json$|\bjson \./) };
}

function sizeText({ sizes }: ContainerInfo): string {
  if (sizes === undefined) return "";
  return `${humanSize(sizes.ownBytes)} (virtual ${humanSize(sizes.ownBytes + sizes.imageBytes)})`;
}

/** By their sources; a volume, which has none, by where it is in the container. */
function mountText({ mounts = [] }: ContainerInfo, whole: boolean): string {
  const names = mounts.map(({ source, target }) => source ?? target);
  return names.map((name) => (whole ? name : truncate(name, MOUNT_COLUMNS))).join(",");
}

function rowOf(container: ContainerInfo, { nowMs, whole }: RowOptions): TemplateRow {
  const { id, image, args, createdAt, status, ports, name, labels, network, exitCode, health } = container;
  return {
    ID: whole ? id : id.slice(0, SHORT_ID),
    Image: image,
    Command: commandText(args, whole),
    CreatedAt: createdAt,
    RunningFor: humanAge(nowMs - Date.parse(createdAt)),
    Status: statusText(container, nowMs),
    State: status,
    Ports: ports.map(portText).join(", "),
    Names: name,
    Labels: Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
    Networks: network,
    ExitCode: exitCode ?? "",
    Health: health ?? "",
    Size: sizeText(container),
    Mounts: mountText(container, whole),
    LocalVolumes: (container.mounts ?? []).filter(({ type }) => type === "volume").length,
    Label: (key: string) => (Object.hasOwn(labels, key) ? labels[key] : ""),
  };
}

/** @param template undefined is the usual table. @throws UsageError for a bad one, before anything is asked */
export function formatContainers(
  template: string | undefined,
  options: RowOptions,
): (containers: readonly ContainerInfo[]) => string {
  const source =
    template === undefined || template === "table"
      ? `table ${[...DEFAULT_COLUMNS, ...(options.sizes ? ["Size"] : [])].map((name) => `{{.${name}}}`).join("\t")}`
      : template;
  const format = compileTemplate(source, CONTAINER_FIELDS, METHODS);
  return (containers) => format(containers.map((container) => rowOf(container, options)));
}
