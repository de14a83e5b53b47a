/** Image configs and indexes that lie, or that want to be more than they are. */
import { describeBytes, bytesOf, goodConfig, TYPES } from "../served.ts";
import type { Descriptor, Json } from "../served.ts";
import { sha256 } from "../row.ts";
import { without } from "./manifests.ts";
import type { DocumentRow } from "./manifests.ts";

type Config = typeof goodConfig;
const row = (
  name: string,
  config: (c: Config) => Json,
  code = "invalid-config",
  twin?: (c: Config) => Json,
): DocumentRow => ({
  name,
  hostile: { config },
  code,
  twin: { config: twin ?? ((c) => ({ ...c, author: "somebody" })) },
});
const execution = (name: string, more: object, twin: object = { User: "1000:1000" }): DocumentRow =>
  row(
    name,
    (c) => ({ ...c, config: { ...c.config, ...more } }),
    "invalid-config",
    (c) => ({ ...c, config: { ...c.config, ...twin } }),
  );
const json = (value: unknown) => JSON.stringify(value);
const diffIds = (name: string, diff_ids: unknown, code = "invalid-config"): DocumentRow =>
  row(name, (c) => ({ ...c, rootfs: { type: "layers", diff_ids } }), code);
const [diffId = ""] = goodConfig.rootfs.diff_ids;

export const configs: readonly DocumentRow[] = [
  row("no JSON", () => "config"),
  row("an array", () => "[]"),
  row("null", () => "null"),
  row("the same key twice", (c) => `${json(c).slice(0, -1)},"rootfs":{"type":"layers","diff_ids":[]}}`),
  row(
    "__proto__ for its rootfs",
    ({ rootfs, ...c }) => `${json(c).slice(0, -1)},"__proto__":{"rootfs":${json(rootfs)}}}`,
  ),
  row("nested 65 deep", (c) => `${json(c).slice(0, -1)},"x":${"[".repeat(65)}${"]".repeat(65)}}`),
  row("no rootfs", (c) => without(c, "rootfs")),
  row("a rootfs of another type", (c) => ({ ...c, rootfs: { ...c.rootfs, type: "tarballs" } })),
  row("no operating system", (c) => without(c, "os")),
  row("an architecture that is a path", (c) => ({ ...c, architecture: "../../amd64" })),
  row("an operating system of 10,000 characters", (c) => ({ ...c, os: "x".repeat(10_000) })),
  row("another architecture", (c) => ({ ...c, architecture: "s390x" }), "platform-not-found"),
  row("Windows", (c) => ({ ...c, os: "windows" }), "platform-not-found"),
  row("a date of 10,000 characters", (c) => ({ ...c, created: "2".repeat(10_000) })),
  row("a history of 10,001 entries", (c) => ({ ...c, history: Array.from({ length: 10_001 }, () => ({})) })),
  row("a history that is text", (c) => ({ ...c, history: "long" })),
  diffIds("no diff IDs", []),
  diffIds("a diff ID too many", [diffId, diffId]),
  diffIds(
    "1,001 diff IDs",
    Array.from({ length: 1001 }, () => diffId),
  ),
  diffIds("a diff ID that is a path", ["../../../etc/passwd"]),
  diffIds("a diff ID of an unknown algorithm", [`blake3:${"0".repeat(64)}`]),
  diffIds("a diff ID of another archive", [sha256("another")], "diff-id-mismatch"),
  diffIds("a diff ID that is the compressed layer's", [sha256("x")], "diff-id-mismatch"),
  diffIds("a diff ID that is null", [null]),
  diffIds("diff IDs that are an object", { 0: diffId, length: 1 }),
  execution("NUL in the command", { Cmd: ["/bin/sh\0-c"] }),
  execution("NUL in the environment", { Env: ["A=\0B"] }, { Env: ["A=B"] }),
  execution("NUL in the working directory", { WorkingDir: "/\0" }, { WorkingDir: "/srv" }),
  execution("NUL in the user", { User: "root\0" }),
  execution("NUL in a volume", { Volumes: { "/data\0": {} } }, { Volumes: { "/data": {} } }),
  execution("a command that is text", { Cmd: "/bin/sh -c evil" }),
  execution("a command of numbers", { Cmd: [1, 2] }),
  execution("100,001 arguments", { Cmd: Array.from({ length: 100_001 }, () => "x") }, { Cmd: ["a", "b"] }),
  execution("an environment that is an object", { Env: { A: "B" } }, { Env: ["A=B"] }),
  execution("a user that is a number", { User: 0 }),
  execution("labels that are objects", { Labels: { a: {} } }, { Labels: { a: "b" } }),
  execution(
    "a negative health interval",
    { Healthcheck: { Test: ["NONE"], Interval: -1 } },
    { Healthcheck: { Test: ["NONE"] } },
  ),
  execution(
    "a health interval with a fraction",
    { Healthcheck: { Interval: 0.5 } },
    { Healthcheck: { Interval: 1e9 } },
  ),
  execution("retries of 10^400", { Healthcheck: { Retries: "1e400" } }, { Healthcheck: { Retries: 3 } }),
  execution("a stop signal that is a number", { StopSignal: 9 }, { StopSignal: "SIGTERM" }),
];

const twin = { index: (entry: Descriptor) => index([entry]) };
const index = (manifests: readonly unknown[], more: object = {}) => ({
  schemaVersion: 2,
  mediaType: TYPES.index,
  manifests,
  ...more,
});
const indexRow = (
  name: string,
  make: (entry: Descriptor) => Json,
  code = "invalid-manifest",
  more: { contents?: readonly Uint8Array[]; contentType?: string } = {},
): DocumentRow => ({
  name,
  hostile: { index: make, ...more },
  code,
  twin,
});
const inner = bytesOf(index([]));
const platform = { os: "linux", architecture: "amd64" };
const chain = (depth: number): Uint8Array[] => {
  const documents = [inner];
  for (let i = 0; i < depth; i++) {
    documents.push(
      bytesOf(index([{ ...describeBytes(documents.at(-1) as Uint8Array, TYPES.index), platform }])),
    );
  }
  return documents;
};
const deepest = chain(20);

export const indexes: readonly DocumentRow[] = [
  indexRow("no entries", () => index([]), "platform-not-found"),
  indexRow("no list", () => ({ schemaVersion: 2, mediaType: TYPES.index })),
  indexRow("a list that is an object", (entry) => ({ ...index([]), manifests: { 0: entry } })),
  indexRow("10,001 entries", (entry) => index(Array.from({ length: 10_001 }, () => entry))),
  indexRow("layers beside its manifests", (entry) => index([entry], { layers: [] })),
  indexRow("a config beside its manifests", (entry) => index([entry], { config: {} })),
  indexRow("the media type of a manifest", (entry) => ({ ...index([entry]), mediaType: TYPES.manifest })),
  indexRow("Content-Type of a manifest", (entry) => index([entry]), "invalid-manifest", {
    contentType: TYPES.manifest,
  }),
  indexRow(
    "Content-Type of Docker's list, mediaType of OCI's",
    (entry) => index([entry]),
    "invalid-manifest",
    { contentType: TYPES.dockerList },
  ),
  indexRow("version 1", (entry) => ({ ...index([entry]), schemaVersion: 1 }), "unsupported-media-type"),
  indexRow("the same key twice", (entry) => `${json(index([entry])).slice(0, -1)},"manifests":[]}`),
  indexRow(
    "an entry that leads to an index, called a manifest",
    (entry) => index([{ ...entry, digest: sha256(inner), size: inner.length }]),
    "invalid-manifest",
    { contents: [inner] },
  ),
  indexRow(
    "an entry that is an index",
    () => index([{ ...describeBytes(inner, TYPES.index), platform }]),
    "platform-not-found",
    { contents: [inner] },
  ),
  indexRow("indexes twenty deep", () => deepest.at(-1) as Uint8Array, "platform-not-found", {
    contents: deepest,
  }),
  indexRow(
    "an entry with its own digest: there is none, so nothing",
    (entry) => index([{ ...entry, digest: `sha256:${"a".repeat(64)}` }]),
    "image-not-found",
  ),
  indexRow(
    "an entry with a digest that is a path",
    (entry) => index([{ ...entry, digest: "../../../v2/_catalog" }]),
    "platform-not-found",
  ),
  indexRow(
    "an entry with an unknown algorithm",
    (entry) => index([{ ...entry, digest: `sha1:${"0".repeat(40)}` }]),
    "platform-not-found",
  ),
  indexRow(
    "an entry of another size",
    (entry) => index([{ ...entry, size: (entry.size as number) + 1 }]),
    "size-mismatch",
  ),
  indexRow(
    "an entry of Docker's type that is OCI's",
    (entry) => index([{ ...entry, mediaType: TYPES.dockerManifest }]),
    "invalid-manifest",
  ),
  indexRow(
    "an entry for another platform only",
    (entry) => index([{ ...entry, platform: { os: "linux", architecture: "s390x" } }]),
    "platform-not-found",
  ),
  indexRow(
    "a platform with control characters, in the message",
    (entry) => index([{ ...entry, platform: { os: "\x1b[2J", architecture: "\r\nevil" } }]),
    "platform-not-found",
  ),
  indexRow(
    "a platform that is text",
    (entry) => index([{ ...entry, platform: "linux/amd64" }]),
    "platform-not-found",
  ),
  indexRow(
    "an attestation for the platform",
    (entry) => index([{ ...entry, annotations: { "vnd.docker.reference.type": "attestation-manifest" } }]),
    "platform-not-found",
  ),
  indexRow("an entry that is null", () => index([null]), "platform-not-found"),
  indexRow(
    "more than 4 MiB",
    (entry) => index([entry], { padding: "x".repeat(4 * 2 ** 20) }),
    "invalid-response",
  ),
];
