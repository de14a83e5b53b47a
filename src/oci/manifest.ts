/**
 * Manifests and indexes: the two documents that a reference may point at.
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md
 *
 *     bytes + Content-Type ──parseDocument──► manifest: config, layers
 *                                        └──► index: manifests ──choose(platform)──► descriptor
 *     bytes + Content-Type ──parsePointers──► all that it points at, for copying: attestations and artifacts too
 */
import * as v from "valibot";
import { annotationsSchema, descriptorSchema } from "./descriptor.ts";
import type { Descriptor } from "./descriptor.ts";
import { quote } from "../util/printable.ts";
import { OciError } from "./error.ts";
import { parseJson } from "./json.ts";
import { compressionOf, documentKindOf, essenceOf, isConfig, MediaType } from "./media-type.ts";
import { MAX_CONFIG_BYTES } from "./config.ts";
import { problemOf } from "./problem.ts";

export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
export const MAX_LAYERS = 1000;
const MAX_INDEX_ENTRIES = 10_000;

export interface Manifest {
  readonly kind: "manifest";
  readonly mediaType: string;
  readonly config: Descriptor;
  /** Lowest first. Every media type is one that `compressionOf` knows. */
  readonly layers: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export interface Index {
  readonly kind: "index";
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

const manifestSchema = v.object({
  schemaVersion: v.literal(2),
  config: descriptorSchema,
  layers: v.pipe(v.array(descriptorSchema), v.maxLength(MAX_LAYERS, `more than ${MAX_LAYERS} layers`)),
  annotations: v.optional(annotationsSchema),
});

/** Entries that cannot be verified are none of ours to choose: they are left out, not an error. */
const indexEntrySchema = v.fallback(v.nullable(descriptorSchema), null);

const indexSchema = v.object({
  schemaVersion: v.literal(2),
  manifests: v.pipe(
    v.array(indexEntrySchema),
    v.maxLength(MAX_INDEX_ENTRIES, `more than ${MAX_INDEX_ENTRIES} manifests`),
  ),
  annotations: v.optional(annotationsSchema),
});

/** What a document points at, checked as descriptors only and not as parts of an image: for copying it as it is. */
export interface Pointers {
  readonly kind: "manifest" | "index";
  readonly mediaType: string;
  /** Of a manifest its config and layers, of an index its entries. */
  readonly targets: readonly Descriptor[];
}

/** A copy lacks nothing: here an entry that cannot be verified is an error. */
const strictIndexSchema = v.object({
  ...indexSchema.entries,
  manifests: v.pipe(
    v.array(descriptorSchema),
    v.maxLength(MAX_INDEX_ENTRIES, `more than ${MAX_INDEX_ENTRIES} manifests`),
  ),
});

const SCHEMA_1_HINT =
  "push the image again with a current tool: Docker has not written this format since 2017";

function refuseSchema1(): never {
  const message = "the image has the old manifest format (Docker schema 1), which names no verifiable layers";
  throw new OciError("unsupported-media-type", message, { hint: SCHEMA_1_HINT });
}

interface Envelope {
  readonly kind: "manifest" | "index";
  readonly mediaType: string;
}

/**
 * Decides what the document is. Everything that speaks must agree: a document that is a manifest to one
 * reader and an index to another one is an attack (CVE-2021-41190), so disagreement is refused.
 */
function envelopeOf(value: object, contentType: string | undefined): Envelope {
  const has = (name: string) => Object.hasOwn(value, name) && (value as never)[name] !== undefined;
  const said = contentType === undefined ? undefined : essenceOf(contentType);
  const saidKind = said === undefined ? undefined : documentKindOf(said);
  if (saidKind === "schema-1" || (value as { schemaVersion?: unknown }).schemaVersion === 1) refuseSchema1();
  const declared: unknown = has("mediaType") ? (value as { mediaType: unknown }).mediaType : undefined;
  if (declared !== undefined && typeof declared !== "string") {
    throw new OciError("invalid-manifest", "image manifest is not acceptable: mediaType is not a string");
  }
  if (declared !== undefined && saidKind !== undefined && declared !== said) {
    const shown = quote(declared);
    const message = `image manifest says it is ${shown} but was delivered as ${said}`;
    throw new OciError("invalid-manifest", message);
  }
  if (has("manifests") && (has("layers") || has("config"))) {
    const message = "image manifest is not acceptable: it is an index and a manifest at once";
    throw new OciError("invalid-manifest", message);
  }
  const shape = has("manifests") ? "index" : "manifest";
  const mediaType =
    declared ??
    (saidKind === undefined ? undefined : said) ??
    (shape === "index" ? MediaType.ociIndex : MediaType.ociManifest);
  const kind = documentKindOf(mediaType);
  if (kind === "schema-1") refuseSchema1();
  if (kind === undefined) {
    const shown = quote(mediaType);
    throw new OciError("unsupported-media-type", `not a container image: the manifest is ${shown}`);
  }
  if (kind !== shape) {
    throw new OciError(
      "invalid-manifest",
      `image manifest says ${mediaType} but has the fields of an ${shape}`,
    );
  }
  return { kind, mediaType };
}

function manifestFrom(value: object, mediaType: string): Manifest {
  const parsed = v.safeParse(manifestSchema, value);
  if (!parsed.success) {
    throw new OciError("invalid-manifest", `image manifest is not acceptable: ${problemOf(parsed.issues)}`);
  }
  const { config, layers, annotations } = parsed.output;
  if (!isConfig(config.mediaType)) {
    throw new OciError(
      "unsupported-media-type",
      `not a container image: its config is of type ${config.mediaType}`,
      { hint: "the reference names an artifact of another kind, such as a Helm chart or a signature" },
    );
  }
  if (config.size > MAX_CONFIG_BYTES) {
    const message = `image config too large: ${config.size} bytes, at most ${MAX_CONFIG_BYTES} are read`;
    throw new OciError("invalid-manifest", message);
  }
  for (const layer of layers) compressionOf(layer.mediaType);
  return { kind: "manifest", mediaType, config, layers, annotations };
}

function indexFrom(value: object, mediaType: string): Index {
  const parsed = v.safeParse(indexSchema, value);
  if (!parsed.success) {
    throw new OciError("invalid-manifest", `image index is not acceptable: ${problemOf(parsed.issues)}`);
  }
  const manifests = parsed.output.manifests.filter((entry) => entry !== null);
  return { kind: "index", mediaType, manifests, annotations: parsed.output.annotations };
}

function objectFrom(bytes: Uint8Array): object {
  const limits = { maxBytes: MAX_MANIFEST_BYTES, what: "image manifest", code: "invalid-manifest" };
  const value = parseJson(bytes, limits);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new OciError("invalid-manifest", "image manifest is not acceptable: it is not an object");
}

/**
 * A manifest or an index from its bytes and, where there is one, the Content-Type it came with.
 * @throws OciError `invalid-manifest`, `unsupported-media-type`
 */
export function parseDocument(bytes: Uint8Array, contentType?: string): Manifest | Index {
  const value = objectFrom(bytes);
  const { kind, mediaType } = envelopeOf(value, contentType);
  return kind === "manifest" ? manifestFrom(value, mediaType) : indexFrom(value, mediaType);
}

/**
 * What to copy with a document so that nothing of it is missing; what the parts are is not asked.
 * @throws OciError `invalid-manifest`, `unsupported-media-type` for what is neither manifest nor index
 */
export function parsePointers(bytes: Uint8Array, contentType?: string): Pointers {
  const value = objectFrom(bytes);
  const { kind, mediaType } = envelopeOf(value, contentType);
  const parsed = v.safeParse(kind === "manifest" ? manifestSchema : strictIndexSchema, value);
  if (!parsed.success) {
    const what = kind === "manifest" ? "manifest" : "index";
    throw new OciError("invalid-manifest", `image ${what} is not acceptable: ${problemOf(parsed.issues)}`);
  }
  const { output } = parsed;
  return {
    kind,
    mediaType,
    targets: "manifests" in output ? output.manifests : [output.config, ...output.layers],
  };
}

/** @throws OciError as `parseDocument`, and `invalid-manifest` for an index */
export function parseManifest(bytes: Uint8Array, contentType?: string): Manifest {
  const document = parseDocument(bytes, contentType);
  if (document.kind === "manifest") return document;
  throw new OciError("invalid-manifest", "got an image index where an image manifest was expected");
}

/** @throws OciError as `parseDocument`, and `invalid-manifest` for a manifest */
export function parseIndex(bytes: Uint8Array, contentType?: string): Index {
  const document = parseDocument(bytes, contentType);
  if (document.kind === "index") return document;
  throw new OciError("invalid-manifest", "got an image manifest where an image index was expected");
}
