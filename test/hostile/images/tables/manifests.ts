/** Manifests that contradict themselves, their delivery, or what they name. */
import { bytesOf, describeBytes, layer, layerBytes, TYPES } from "../served.ts";
import type { Json, Made, Manifest } from "../served.ts";

export interface DocumentRow {
  readonly name: string;
  readonly hostile: Made;
  readonly code: string;
  readonly twin: Made;
}

const json = (value: unknown) => JSON.stringify(value);
/** The document without one of its fields. */
export const without = (document: object, field: string) => ({ ...document, [field]: undefined });
const type = (mediaType: string) => (manifest: Manifest) => ({ ...manifest, mediaType });
const dockerTwin: Made = { manifest: type(TYPES.dockerManifest), contentType: TYPES.dockerManifest };
const labelled: Made = { manifest: (m) => ({ ...m, annotations: { a: "b" } }) };

const row = (
  name: string,
  manifest: (m: Manifest) => Json,
  code = "invalid-manifest",
  twin = labelled,
): DocumentRow => ({
  name,
  hostile: { manifest },
  code,
  twin,
});
/** The first layer's descriptor with something else in it. */
const inLayer = (name: string, change: object, code = "invalid-manifest"): DocumentRow =>
  row(name, (m) => ({ ...m, layers: [{ ...layer, ...change }] }), code, {
    manifest: (m) => ({ ...m, layers: [{ ...layer, annotations: { a: "b" } }] }),
  });

const shapes: DocumentRow[] = [
  row("no JSON", () => "<html>not found</html>"),
  row("nothing", () => ""),
  row("an array", () => "[]"),
  row("a string", () => '"manifest"'),
  row("null", () => "null"),
  row("a number", () => "2"),
  row("no UTF-8", (m) =>
    Buffer.concat([bytesOf(m).subarray(0, -1), Buffer.from(',"x":"\xff\xfe"}', "latin1")]),
  ),
  row("a byte order mark", (m) => Buffer.concat([Buffer.from("\ufeff"), bytesOf(m)])),
  row("something behind its end", (m) => `${json(m)} x`),
  row("cut in the middle", (m) => json(m).slice(0, 200)),
  row("more than 4 MiB", (m) => json({ ...m, padding: "x".repeat(4 * 2 ** 20) }), "invalid-response"),
  row("more than 4 MiB of spaces", (m) => json(m) + " ".repeat(4 * 2 ** 20), "invalid-response"),
  row("nested 65 deep", (m) => json({ ...m, x: nested(65) })),
  row(
    "nested 100,000 deep",
    (m) => `${json(m).slice(0, -1)},"x":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
  ),
  row("nested 2,000,000 deep", (m) => `${json(m).slice(0, -1)},"x":${"[".repeat(2e6)}`),
  row("the same key twice", (m) => `${json(m).slice(0, -1)},"layers":[]}`),
  row("the same key twice, once with an escape", (m) => `${json(m).slice(0, -1)},"lay\\u0065rs":[]}`),
  row("the same key twice in a descriptor", (m) => json(m).replace('"size":', '"size":0,"size":')),
  row("the same key twice where nobody looks", (m) => `${json(m).slice(0, -1)},"x":{"a":1,"a":2}}`),
  row("no version", (m) => without(m, "schemaVersion")),
  row("version 3", (m) => ({ ...m, schemaVersion: 3 })),
  row('version "2"', (m) => ({ ...m, schemaVersion: "2" })),
  row("version 1", (m) => ({ ...m, schemaVersion: 1 }), "unsupported-media-type"),
  row("no config", (m) => without(m, "config")),
  row("no layers", (m) => without(m, "layers")),
  row("layers that are an object", (m) => ({ ...m, layers: { 0: layer } })),
  row("1,001 layers", (m) => ({ ...m, layers: Array.from({ length: 1001 }, () => layer) })),
  row("a layer that is null", (m) => ({ ...m, layers: [layer, null] })),
  row("a mediaType that is a number", (m) => ({ ...m, mediaType: 7 })),
  row("annotations that are numbers", (m) => ({ ...m, annotations: { a: 1 } })),
  row("manifests and layers together", (m) => ({ ...m, manifests: [] })),
  row("manifests in place of its layers", ({ layers, ...m }) => ({ ...m, manifests: layers })),
  row("__proto__ in place of its fields", (m) => `{"__proto__":${json(m)}}`),
  row(
    "its config by __proto__",
    ({ config, ...m }) => `${json(m).slice(0, -1)},"__proto__":{"config":${json(config)}}}`,
  ),
];

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = [value];
  return value;
}

const types: DocumentRow[] = [
  row("the media type of an index", type(TYPES.index)),
  row("the media type of a Docker list", type(TYPES.dockerList)),
  row(
    "the media type of schema 1",
    type("application/vnd.docker.distribution.manifest.v1+json"),
    "invalid-manifest",
  ),
  row("a media type of another world", type("application/vnd.cncf.helm.chart.v1"), "invalid-manifest"),
  {
    name: "Content-Type of Docker's, mediaType of OCI's",
    hostile: { contentType: TYPES.dockerManifest },
    code: "invalid-manifest",
    twin: dockerTwin,
  },
  {
    name: "Content-Type of an index",
    hostile: { contentType: TYPES.index },
    code: "invalid-manifest",
    twin: dockerTwin,
  },
  {
    name: "Content-Type of schema 1",
    hostile: { contentType: "application/vnd.docker.distribution.manifest.v1+prettyjws" },
    code: "unsupported-media-type",
    twin: dockerTwin,
  },
  {
    name: "no Content-Type, and an unknown mediaType",
    hostile: { manifest: type("application/x-evil"), contentType: null },
    code: "unsupported-media-type",
    twin: { contentType: null },
  },
  {
    name: "Content-Type for people, and no mediaType but manifests",
    hostile: { manifest: () => ({ schemaVersion: 2, manifests: [], layers: [] }), contentType: "text/html" },
    code: "invalid-manifest",
    twin: { contentType: "text/html" },
  },
  row(
    "a config that is a Helm chart",
    (m) => ({ ...m, config: { ...m.config, mediaType: "application/vnd.cncf.helm.config.v1+json" } }),
    "unsupported-media-type",
  ),
  row(
    "a config that is a layer",
    (m) => ({ ...m, config: { ...m.config, mediaType: layer.mediaType } }),
    "unsupported-media-type",
  ),
  row(
    "a config that is empty JSON",
    (m) => ({ ...m, config: { ...m.config, mediaType: "application/vnd.oci.empty.v1+json" } }),
    "unsupported-media-type",
  ),
];

const descriptors: DocumentRow[] = [
  inLayer("a digest that is a path", { digest: "../../../../etc/passwd" }),
  inLayer("a digest with a path in it", { digest: `sha256:../../${"0".repeat(58)}` }),
  inLayer("an absolute path for a digest", { digest: "/etc/passwd" }),
  inLayer("md5", { digest: `md5:${"0".repeat(32)}` }),
  inLayer("an unknown algorithm", { digest: `sha3:${"0".repeat(64)}` }),
  inLayer("upper-case hexadecimal", { digest: (layer.digest as string).toUpperCase() }),
  inLayer("upper-case digits", { digest: `sha256:${(layer.digest as string).slice(7).toUpperCase()}x` }),
  inLayer("63 digits", { digest: (layer.digest as string).slice(0, -1) }),
  inLayer("65 digits", { digest: `${layer.digest as string}0` }),
  inLayer("a newline behind the digest", { digest: `${layer.digest as string}\n` }),
  inLayer("a NUL in the digest", { digest: `${layer.digest as string}\0` }),
  inLayer("two digests", { digest: `${layer.digest as string},${layer.digest as string}` }),
  inLayer("no digest", { digest: undefined }),
  inLayer("a digest that is an object", { digest: { toString: "x" } }),
  inLayer("a negative size", { size: -1 }),
  inLayer("a size with a fraction", { size: 1.5 }),
  inLayer("a size of 2^53", { size: 2 ** 53 }),
  inLayer("a size of 10^300", { size: 1e300 }),
  inLayer("a size of 2 TiB", { size: 2 ** 41 }),
  inLayer("a size that is text", { size: "100" }),
  inLayer("no size", { size: undefined }),
  inLayer("a size that is too small", { size: layerBytes.length - 1 }, "size-mismatch"),
  inLayer("a size that is too large", { size: layerBytes.length + 1 }, "size-mismatch"),
  inLayer("a size of zero", { size: 0 }, "size-mismatch"),
  inLayer("a digest of other bytes", { digest: `sha256:${"1".repeat(64)}` }, "blob-not-found"),
  inLayer("no media type", { mediaType: undefined }),
  inLayer("a media type with control characters", { mediaType: "application/\x1b[2J" }),
  inLayer("a media type of 10,000 characters", { mediaType: `application/${"x".repeat(10_000)}` }),
  inLayer(
    "a foreign layer with URLs: nobody asks there",
    {
      mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
      urls: ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd"],
    },
    "unsupported-media-type",
  ),
  inLayer(
    "a non-distributable layer",
    { mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" },
    "unsupported-media-type",
  ),
  inLayer(
    "an encrypted layer",
    { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip+encrypted" },
    "unsupported-media-type",
  ),
  inLayer("a layer that is a config", { mediaType: TYPES.config }, "unsupported-media-type"),
  inLayer("a layer that is a manifest", { mediaType: TYPES.manifest }, "unsupported-media-type"),
  row("a config of 9 MiB", (m) => ({ ...m, config: { ...m.config, size: 9 * 2 ** 20 } })),
  row(
    "a config that is the layer",
    (m) => ({ ...m, config: { ...m.config, digest: layer.digest, size: layer.size } }),
    "invalid-config",
  ),
  row(
    "a config of another size",
    (m) => ({ ...m, config: { ...m.config, size: (m.config.size as number) + 1 } }),
    "size-mismatch",
  ),
];

/** What an ordinary layer does with URLs in it: it is fetched from its registry, and nobody asks there. */
export const innocent: readonly {
  readonly name: string;
  readonly made: Made;
  readonly isEmpty?: true;
}[] = [
  {
    name: "no layers at all",
    isEmpty: true,
    made: {
      config: (c) => ({ ...c, rootfs: { type: "layers", diff_ids: [] } }),
      manifest: (m) => ({ ...m, layers: [] }),
    },
  },
  {
    // As text it is one like any other: the guest, which looks users up, refuses it (guest/src/runtime/user_test.rs).
    name: "a user of 33 bits",
    made: { config: (c) => ({ ...c, config: { ...c.config, User: "4294967296" } }) },
  },
  {
    name: "an ordinary layer with URLs",
    made: { manifest: (m) => ({ ...m, layers: [{ ...layer, urls: ["http://127.0.0.1:1/"] }] }) },
  },
  {
    name: "a field that nobody knows",
    made: { manifest: (m) => ({ ...m, subject: describeBytes(Buffer.from("{}"), TYPES.manifest) }) },
  },
  {
    name: "constructor and prototype for annotations",
    made: { manifest: (m) => ({ ...m, annotations: { constructor: { prototype: 1 } } }) },
  },
  {
    name: "a config that names another platform than the index",
    made: {
      config: (c) => ({ ...c, architecture: "arm64" }),
      index: (entry) => ({ schemaVersion: 2, manifests: [entry] }),
    },
  },
  { name: "null for what is not there", made: { manifest: (m) => ({ ...m, annotations: null }) } },
  {
    name: "__proto__ beside its fields",
    made: { manifest: (m) => `${json(m).slice(0, -1)},"__proto__":{"layers":[],"polluted":true}}` },
  },
];

export const manifests: readonly DocumentRow[] = [...shapes, ...types, ...descriptors];
