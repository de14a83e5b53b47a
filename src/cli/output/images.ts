/** Images as rows: the table, and the fields that `--format` knows. */
import { UsageError } from "../failure.ts";
import type { ImageInfo } from "../library.ts";
import type { Settings } from "../settings.ts";
import { renderTable } from "./table.ts";
import { compileTemplate, type TemplateFields, type TemplateRow } from "./template.ts";
import { humanAge, humanSize } from "./units.ts";

export const IMAGE_FIELDS: TemplateFields = {
  Repository: "REPOSITORY",
  Tag: "TAG",
  Reference: "REFERENCE",
  ID: "IMAGE ID",
  Digest: "DIGEST",
  Platform: "PLATFORM",
  Size: "SIZE",
  CreatedAt: "CREATED AT",
  CreatedSince: "CREATED",
  PulledAt: "PULLED AT",
};

const NONE = "<none>";

/** `sha256:` and twelve digits more are enough to tell images apart. */
function shorten(digest: string): string {
  return digest.replace(/^([a-z0-9]+:)?([0-9a-f]{12})[0-9a-f]*$/, "$2");
}

/** Images of reproducible builds carry the year 1970, or nothing; neither is an age. */
function ageOf(createdAt: string | undefined, nowMs: number): string {
  const created = createdAt === undefined ? Number.NaN : Date.parse(createdAt);
  return Number.isNaN(created) || created <= 0 ? "N/A" : humanAge(nowMs - created);
}

function rowOf(image: ImageInfo, nowMs: number, isShort: boolean): TemplateRow {
  return {
    Repository: image.repository,
    Tag: image.tag ?? NONE,
    Reference: image.reference,
    ID: isShort ? shorten(image.id) : image.id,
    Digest: image.digest,
    Platform: image.platform,
    Size: humanSize(image.sizeBytes),
    CreatedAt: image.createdAt ?? "N/A",
    CreatedSince: ageOf(image.createdAt, nowMs),
    PulledAt: image.pulledAt,
  };
}

/** Throws UsageError for a bad template, before anything is asked of the library. */
export function formatImages(
  template: string,
  nowMs: number,
  { trunc = true }: { readonly trunc?: boolean } = {},
): (images: readonly ImageInfo[]) => string {
  const source =
    template === "table"
      ? "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.Platform}}\t{{.Size}}\t{{.CreatedSince}}"
      : template;
  const format = compileTemplate(source, IMAGE_FIELDS);
  return (images) => format(images.map((image) => rowOf(image, nowMs, trunc)));
}

export function imageTable(
  images: readonly ImageInfo[],
  nowMs: number,
  options: { readonly digests: boolean },
): string {
  const heading = ["REPOSITORY", "TAG", "DIGEST", "PLATFORM", "SIZE", "CREATED"];
  const rows = images.map((image) => [
    image.repository,
    image.tag ?? NONE,
    options.digests ? image.digest : shorten(image.digest),
    image.platform,
    humanSize(image.sizeBytes),
    ageOf(image.createdAt, nowMs),
  ]);
  return renderTable([heading, ...rows]);
}

/** `app:1`; an image without a name is its id. */
export function shownName({ repository, tag, reference, id }: ImageInfo): string {
  return repository === NONE ? id : tag === undefined ? reference : `${repository}:${tag}`;
}

export function refuseFormat({ format }: Pick<Settings, "format">, commandName: string): void {
  if (format !== undefined) throw new UsageError(`--format is of no use to ${commandName}`, "use --json");
}

/** As Docker lists them; images of unknown age come last. */
export function newestFirst(images: readonly ImageInfo[]): ImageInfo[] {
  const time = ({ createdAt }: ImageInfo) => (createdAt === undefined ? 0 : Date.parse(createdAt) || 0);
  return [...images].sort((a, b) => time(b) - time(a) || (a.reference < b.reference ? -1 : 1));
}
