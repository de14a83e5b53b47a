/** Templates of machines as rows: the table, and the fields that `--format` knows. */
import type { TemplateInfo } from "../library.ts";
import { compileTemplate, type TemplateFields, type TemplateRow } from "./template.ts";
import { humanAge, humanSize } from "./units.ts";

export const TEMPLATE_FIELDS: TemplateFields = {
  Key: "KEY",
  CPUs: "CPUS",
  Memory: "MEMORY",
  Network: "NETWORK",
  Size: "SIZE",
  Description: "DESCRIPTION",
  CreatedAt: "CREATED AT",
  CreatedSince: "CREATED",
  LastUsedAt: "LAST USED AT",
  LastUsedSince: "LAST USED",
};

const TABLE =
  "table {{truncate .Key 12}}\t{{.CPUs}}\t{{.Memory}}\t{{.Network}}\t{{.Size}}\t{{.LastUsedSince}}\t{{.Description}}";

function rowOf(info: TemplateInfo, nowMs: number): TemplateRow {
  const { key, description, cpus, memoryMib, network, createdAt, lastUsedAt, diskBytes } = info;
  const age = (time: string) => humanAge(nowMs - Date.parse(time));
  return {
    Key: key,
    CPUs: cpus,
    Memory: `${memoryMib}MiB`,
    Network: network ? "user" : "none",
    Size: humanSize(diskBytes),
    Description: description,
    CreatedAt: createdAt,
    CreatedSince: age(createdAt),
    LastUsedAt: lastUsedAt,
    LastUsedSince: age(lastUsedAt),
  };
}

/** Throws UsageError for a bad template, before anything is asked of the library. Without one: the table. */
export function formatTemplates(
  template: string | undefined,
  nowMs: number,
): (templates: readonly TemplateInfo[]) => string {
  const source = template === undefined || template === "table" ? TABLE : template;
  const format = compileTemplate(source, TEMPLATE_FIELDS);
  return (templates) => format(templates.map((info) => rowOf(info, nowMs)));
}
