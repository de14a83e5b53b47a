/** Records: what a reference stands for. One small JSON file each, validated whenever it is read. */
import { readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { digestSchema } from "../oci/descriptor.ts";
import { format, parse } from "../reference/reference.ts";
import { writeFileAtomic } from "../util/atomic-file.ts";
import { messageOf, systemCode } from "../util/error.ts";
import { explainDiskError } from "./error.ts";
import { recordPath, rootfsKey, stored } from "./layout.ts";
import type { Store, StoredName } from "./layout.ts";

const RECORD_VERSION = 1;
const MAX_RECORD_BYTES = 1024 * 1024;

const word = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.-]{1,64}$/));
const instant = v.pipe(
  v.string(),
  v.maxLength(64),
  v.check((text) => !Number.isNaN(Date.parse(text)), "not a time"),
);

function isFullReference(text: string): boolean {
  try {
    return format(parse(text)) === text;
  } catch {
    return false;
  }
}

const recordSchema = v.object({
  version: v.literal(RECORD_VERSION),
  /** In full: `docker.io/library/alpine:latest`. */
  reference: v.pipe(v.string(), v.check(isFullReference, "not a full reference")),
  /** What the reference named or its tag pointed at: the index's where there is one. */
  digest: digestSchema,
  manifestDigest: digestSchema,
  /** Docker's image ID. */
  configDigest: digestSchema,
  /** Of the layers, lowest first; one may be there twice. */
  diffIds: v.pipe(v.array(digestSchema), v.maxLength(1000)),
  platform: v.object({ os: word, architecture: word, variant: v.optional(word) }),
  /** `REGISTRY/REPOSITORY`: where the manifest and its blobs are, as far as is known; the latest first. */
  origins: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(512))), v.maxLength(16))),
  /** When the image was made, as its config says. */
  createdAt: v.optional(instant),
  pulledAt: instant,
});

export type ImageRecord = Readonly<v.InferOutput<typeof recordSchema>>;

/** A record that cannot be used; the image has to be pulled again, the file may be removed. */
export interface RecordProblem {
  readonly path: string;
  readonly message: string;
  /** A later FlameBox wrote it, so it is not ours to remove. */
  readonly isNewer: boolean;
}

export interface Records {
  /** By reference. */
  readonly images: readonly ImageRecord[];
  readonly problems: readonly RecordProblem[];
  /** A later FlameBox was here: what its records keep is not known. */
  readonly hasNewer: boolean;
}

/** Everything that the image needs, whether it is there or not. */
export function namesOf(
  image: Pick<ImageRecord, "manifestDigest" | "configDigest" | "diffIds">,
): StoredName[] {
  return [
    stored.blob(image.manifestDigest),
    stored.blob(image.configDigest),
    ...image.diffIds.map(stored.layer),
    stored.rootfs(rootfsKey(image.diffIds)),
  ];
}

function versionOf(value: unknown): unknown {
  return typeof value === "object" && value !== null && "version" in value ? value.version : undefined;
}

type Parsed = { readonly image: ImageRecord } | { readonly problem: string; readonly isNewer: boolean };

export function parseRecord(text: string): Parsed {
  if (text.length > MAX_RECORD_BYTES) return { problem: "it is too large", isNewer: false };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { problem: messageOf(error), isNewer: false };
  }
  const version = versionOf(value);
  if (typeof version === "number" && version > RECORD_VERSION) {
    return { problem: `version ${version} is newer than this FlameBox`, isNewer: true };
  }
  const parsed = v.safeParse(recordSchema, value);
  if (parsed.success) return { image: parsed.output };
  const [issue] = parsed.issues;
  return { problem: `${v.getDotPath(issue) ?? "record"}: ${issue.message}`, isNewer: false };
}

async function readRecordFile(store: Store, path: string): Promise<Parsed | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  const parsed = parseRecord(text);
  if ("image" in parsed && recordPath(store.layout, parsed.image.reference) !== path) {
    return { problem: "its name is another reference's", isNewer: false };
  }
  return parsed;
}

export async function readRecords(store: Store): Promise<Records> {
  const images: ImageRecord[] = [];
  const problems: RecordProblem[] = [];
  let hasNewer = false;
  for (const name of await readdir(store.layout.imagesDir)) {
    const path = join(store.layout.imagesDir, name);
    const parsed = await readRecordFile(store, path);
    if (!parsed) continue;
    if ("image" in parsed) {
      images.push(parsed.image);
    } else {
      const { problem, isNewer } = parsed;
      problems.push({ path, message: `image record cannot be used: ${problem}`, isNewer });
      hasNewer ||= isNewer;
    }
  }
  images.sort((a, b) => (a.reference < b.reference ? -1 : 1));
  return { images, problems, hasNewer };
}

/** The image that the full reference stands for here; undefined also when its record cannot be used. */
export async function readRecord(store: Store, reference: string): Promise<ImageRecord | undefined> {
  const parsed = await readRecordFile(store, recordPath(store.layout, reference));
  return parsed && "image" in parsed ? parsed.image : undefined;
}

/** Replaces what the reference stood for. @throws StoreError `disk-full` */
export async function writeRecord(store: Store, image: Omit<ImageRecord, "version">): Promise<ImageRecord> {
  const record = v.parse(recordSchema, { version: RECORD_VERSION, ...image });
  const text = `${JSON.stringify(record, undefined, 2)}\n`;
  try {
    await writeFileAtomic(recordPath(store.layout, record.reference), text, { tmpDir: store.workspace });
  } catch (error) {
    throw explainDiskError(error, store.layout.dir);
  }
  return record;
}

/** The reference stands for nothing any more; what it needed stays until the next collection. */
export async function removeRecord(store: Store, reference: string): Promise<void> {
  await rm(recordPath(store.layout, reference), { force: true });
}

/** Removes a record that cannot be used. */
export async function removeProblemRecord({ path, isNewer }: RecordProblem): Promise<void> {
  if (!isNewer) await rm(path, { force: true });
}
