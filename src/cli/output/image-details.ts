/** `inspect` and `history` of an image, with Docker's names. */
import type { HistoryLine, ImageDetails } from "../library.ts";
import { renderTable } from "./table.ts";
import { compileTemplate, type TemplateFields, type TemplateRow } from "./template.ts";
import { truncate } from "./text.ts";
import { humanAge, humanSize } from "./units.ts";

/** What `docker image inspect` prints, and Layers and History besides. */
export function inspected(image: ImageDetails): Readonly<Record<string, unknown>> {
  const { platform, manifest, layers, history } = image;
  return {
    Id: image.id,
    RepoTags: image.tags,
    RepoDigests: image.digests,
    Parent: "",
    Comment: history[0]?.comment ?? "",
    Created: image.createdAt ?? "",
    Author: image.author,
    Config: image.config,
    Architecture: platform.architecture,
    ...(platform.variant === undefined ? {} : { Variant: platform.variant }),
    Os: platform.os,
    Size: image.sizeBytes,
    RootFS: { Type: "layers", Layers: layers.map(({ diffId }) => diffId) },
    Metadata: { LastTagTime: image.pulledAt },
    Descriptor: manifest,
    Layers: layers.map((layer) => ({
      DiffID: layer.diffId,
      Digest: layer.digest,
      MediaType: layer.mediaType,
      CompressedSize: layer.compressedBytes,
      Size: layer.storedBytes,
    })),
    History: history.map((line) => ({
      Created: line.createdAt ?? "",
      CreatedBy: line.createdBy,
      Comment: line.comment,
      Size: line.layer?.storedBytes ?? 0,
      EmptyLayer: line.layer === undefined,
    })),
  };
}

const INSPECT_NAMES =
  "Id RepoTags RepoDigests Parent Comment Created Author Config Architecture Variant Os Size RootFS Metadata Descriptor Layers History";
const INSPECT_FIELDS: TemplateFields = Object.fromEntries(
  INSPECT_NAMES.split(" ").map((name) => [name, name.toUpperCase()]),
);

/** Throws UsageError for a bad template, before anything is asked of the library. */
export function formatInspected(template: string): (images: readonly ImageDetails[]) => string {
  const format = compileTemplate(template, INSPECT_FIELDS);
  return (images) => format(images.map(inspected));
}

const HISTORY_FIELDS: TemplateFields = {
  ID: "IMAGE",
  CreatedAt: "CREATED AT",
  CreatedSince: "CREATED",
  CreatedBy: "CREATED BY",
  Size: "SIZE",
  Comment: "COMMENT",
};
const CREATED_BY_COLUMNS = 45;

export interface HistoryStyle {
  readonly nowMs: number;
  readonly full: boolean;
  readonly human: boolean;
}

function rowOf(line: HistoryLine, id: string, { nowMs, full, human }: HistoryStyle): TemplateRow {
  const created = line.createdAt === undefined ? Number.NaN : Date.parse(line.createdAt);
  const sizeBytes = line.layer?.storedBytes ?? 0;
  const age = Number.isNaN(created) || created <= 0 ? "N/A" : humanAge(nowMs - created);
  const flat = line.createdBy.replace(/\s+/g, " ");
  return {
    ID: full ? id : id.replace(/^sha256:([0-9a-f]{12}).*$/, "$1"),
    CreatedAt: line.createdAt ?? "N/A",
    CreatedSince: human ? age : (line.createdAt ?? "N/A"),
    CreatedBy: full ? flat : truncate(flat, CREATED_BY_COLUMNS),
    Size: human ? humanSize(sizeBytes) : `${sizeBytes}`,
    Comment: line.comment,
  };
}

/** Only the latest line is an image; those before are layers of it. */
function rowsOf({ history, id }: ImageDetails, style: HistoryStyle): TemplateRow[] {
  return history.map((line, i) => rowOf(line, i === 0 ? id : "<missing>", style));
}

export function historyTable(image: ImageDetails, style: HistoryStyle): string {
  const fields = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
  const heading = fields.map((field) => HISTORY_FIELDS[field] ?? field);
  const rows = rowsOf(image, style).map((row) => fields.map((field) => String(row[field])));
  return renderTable([heading, ...rows]);
}

export function historyIds(image: ImageDetails, style: HistoryStyle): string {
  return rowsOf(image, style)
    .map(({ ID }) => `${String(ID)}\n`)
    .join("");
}

/** Throws UsageError for a bad template. */
export function formatHistory(template: string, style: HistoryStyle): (image: ImageDetails) => string {
  const source =
    template === "table" ? "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}" : template;
  const format = compileTemplate(source, HISTORY_FIELDS);
  return (image) => format(rowsOf(image, style));
}
