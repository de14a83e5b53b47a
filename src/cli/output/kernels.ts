/** Kernels as rows: the table, and the fields that `--format` knows. */
import type { KernelInfo } from "../library.ts";
import { compileTemplate, type TemplateFields, type TemplateRow } from "./template.ts";
import { humanAge, humanSize } from "./units.ts";

export const KERNEL_FIELDS: TemplateFields = {
  Name: "NAME",
  Release: "RELEASE",
  Kind: "KIND",
  Size: "SIZE",
  InUse: "IN USE",
  Path: "PATH",
  CreatedAt: "CREATED AT",
  CreatedSince: "CREATED",
};

const TABLE = "table {{.Name}}\t{{.Release}}\t{{.Kind}}\t{{.Size}}\t{{.CreatedSince}}\t{{.InUse}}";

function rowOf(info: KernelInfo, nowMs: number): TemplateRow {
  const { name, release, kind, diskBytes, inUse, path, createdAt } = info;
  return {
    Name: name,
    Release: release,
    Kind: kind,
    Size: humanSize(diskBytes),
    InUse: inUse ? "yes" : "",
    Path: path,
    CreatedAt: createdAt,
    CreatedSince: humanAge(nowMs - Date.parse(createdAt)),
  };
}

/** Throws UsageError for a bad template, before anything is asked of the library. Without one: the table. */
export function formatKernels(
  template: string | undefined,
  nowMs: number,
): (kernels: readonly KernelInfo[]) => string {
  const source = template === undefined || template === "table" ? TABLE : template;
  const format = compileTemplate(source, KERNEL_FIELDS);
  return (kernels) => format(kernels.map((info) => rowOf(info, nowMs)));
}
