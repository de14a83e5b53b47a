/** `system df`: a row a kind of thing. */
import type { ContainerUsage, ImageUsage, TemplateInfo } from "../library.ts";
import { compileTemplate, type TemplateFields } from "./template.ts";
import { humanSize } from "./units.ts";

export interface UsageRow {
  readonly type: string;
  readonly totalCount: number;
  /** Null where it makes no sense. */
  readonly active: number | null;
  readonly sizeBytes: number;
  readonly reclaimableBytes: number;
}

export interface Usages {
  readonly images: ImageUsage;
  readonly containers: ContainerUsage;
  readonly templates: readonly TemplateInfo[];
}

export function usageRows({ images, containers, templates }: Usages): UsageRow[] {
  return [
    { type: "Images", totalCount: images.images, ...taken(images) },
    { type: "Containers", totalCount: containers.containers, ...taken(containers) },
    {
      type: "Templates",
      totalCount: templates.length,
      active: null,
      sizeBytes: templates.reduce((sum, { diskBytes }) => sum + diskBytes, 0),
      reclaimableBytes: 0,
    },
  ];
}

function taken({
  active,
  sizeBytes,
  reclaimableBytes,
}: Pick<UsageRow, "active" | "sizeBytes" | "reclaimableBytes">) {
  return { active, sizeBytes, reclaimableBytes };
}

const FIELDS: TemplateFields = {
  Type: "TYPE",
  TotalCount: "TOTAL",
  Active: "ACTIVE",
  Size: "SIZE",
  Reclaimable: "RECLAIMABLE",
};
const TABLE = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

function percent({ sizeBytes, reclaimableBytes }: UsageRow): string {
  return sizeBytes === 0 ? "" : ` (${Math.round((100 * reclaimableBytes) / sizeBytes)}%)`;
}

/** Throws UsageError for a bad template. */
export function formatUsage(template: string | undefined): (rows: readonly UsageRow[]) => string {
  const format = compileTemplate(template === undefined || template === "table" ? TABLE : template, FIELDS);
  return (rows) =>
    format(
      rows.map((row) => ({
        Type: row.type,
        TotalCount: row.totalCount,
        Active: row.active ?? "-",
        Size: humanSize(row.sizeBytes),
        Reclaimable: `${humanSize(row.reclaimableBytes)}${percent(row)}`,
      })),
    );
}
