/** `save --all-platforms`: all that a reference leads to, byte for byte, whatever kind it is of. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as flamebox from "../../src/index.ts";
import { digestOf } from "../../src/reference/digest.ts";
import { startServer } from "../support/loopback-server.ts";
import type { LoopbackServer } from "../support/loopback-server.ts";
import { makeImage } from "../support/oci-layout.ts";
import type { WrittenBlob } from "../support/oci-layout.ts";
import { missingPrograms } from "../support/programs.ts";
import { tarOf } from "./memory-source.ts";

const run = promisify(execFile);
const missing = missingPrograms("skopeo");
const OCI = "application/vnd.oci.image";
const amd64 = { os: "linux", architecture: "amd64" };

describe("all that a reference leads to", () => {
  let dir: string;
  let server: LoopbackServer;
  let id: string;
  /** By digest or tag. */
  const documents = new Map<string, { readonly mediaType: string; readonly bytes: Buffer }>();
  const blobs = new Map<string, Buffer>();

  const blob = (mediaType: string, bytes: Buffer): WrittenBlob => {
    blobs.set(digestOf(bytes), bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.length };
  };
  const document = (mediaType: string, value: object, tag?: string): WrittenBlob => {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...value }));
    const digest = digestOf(bytes);
    for (const name of tag === undefined ? [digest] : [digest, tag])
      documents.set(name, { mediaType, bytes });
    return { mediaType, digest, size: bytes.length };
  };
  const index = (tag: string, ...manifests: object[]) => document(`${OCI}.index.v1+json`, { manifests }, tag);

  /** What BuildKit writes. https://docs.docker.com/build/metadata/attestations/attestation-storage/ */
  const attestationOf = (subject: WrittenBlob): object => {
    const statement = Buffer.from(JSON.stringify({ _type: "https://in-toto.io/Statement/v0.1", subject }));
    const config = { ...amd64, architecture: "unknown", os: "unknown", config: {} };
    const rootfs = { type: "layers", diff_ids: [digestOf(statement)] };
    const manifest = document(`${OCI}.manifest.v1+json`, {
      config: blob(`${OCI}.config.v1+json`, Buffer.from(JSON.stringify({ ...config, rootfs }))),
      layers: [
        {
          ...blob("application/vnd.in-toto+json", statement),
          annotations: { "in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2" },
        },
      ],
    });
    const annotations = {
      "vnd.docker.reference.digest": subject.digest,
      "vnd.docker.reference.type": "attestation-manifest",
    };
    return { ...manifest, annotations, platform: { architecture: "unknown", os: "unknown" } };
  };

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-everything-"));
    const image = makeImage({ platform: amd64, layers: [await tarOf({ "etc/motd": "hello\n" })] });
    id = image.config.digest;
    blobs.set(id, image.configBytes);
    for (const { digest, bytes } of image.layers) blobs.set(digest, bytes);
    const { mediaType } = image.manifest;
    documents.set(image.manifest.digest, { mediaType, bytes: image.manifestBytes });
    const entry = { ...image.manifest, platform: amd64 };
    const inner = index("attested", entry, attestationOf(image.manifest));
    // Twice what is below, and one more step.
    index("nested", entry, inner, index("middle", inner, entry));
    index("unverifiable", entry, { ...entry, digest: "md5:1234" });
    index("two-types", entry, { ...entry, mediaType: `${OCI}.index.v1+json` });
    index("unknown", entry, document("application/vnd.oci.artifact.manifest.v1+json", { blobs: [] }));
    const artifact = blob("application/vnd.example.thing", Buffer.from("thing"));
    const empty = blob("application/vnd.oci.empty.v1+json", Buffer.from("{}"));
    document(`${OCI}.manifest.v1+json`, { config: empty, layers: [artifact] }, "artifact");
    server = await startServer((request, response) => {
      const name = (request.url ?? "").split("/").at(-1) ?? "";
      const found = (request.url ?? "").includes("/manifests/") ? documents.get(name) : undefined;
      const bytes = found?.bytes ?? blobs.get(name);
      if (found) response.setHeader("content-type", found.mediaType);
      response.writeHead(bytes || request.url === "/v2/" ? 200 : 404).end(bytes);
    });
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const access = { dockerConfig: null, registrySettings: [], certificateDirs: [] };
  const newHome = async () => ({
    ...access,
    paths: flamebox.locatePaths({ FLAMEBOX_HOME: await mkdtemp(join(dir, "home-")) }),
  });
  const save = async (tag: string, format: "oci-dir" | "oci-archive"): Promise<string> => {
    const output = join(await mkdtemp(join(dir, "out-")), "copy");
    const options = { ...(await newHome()), output, format, allPlatforms: true };
    await flamebox.saveImages([`${server.host}/a/b:${tag}`], options);
    return output;
  };
  /** Everything in the layout's blobs is what the server has under this name. */
  const contentsOf = async (layout: string): Promise<string[]> => {
    const names = await readdir(join(layout, "blobs", "sha256"));
    for (const name of names) {
      const bytes = await readFile(join(layout, "blobs", "sha256", name));
      const served = documents.get(`sha256:${name}`)?.bytes ?? blobs.get(`sha256:${name}`);
      expect(served?.equals(bytes), name).toBe(true);
    }
    return names.map((name) => `sha256:${name}`);
  };
  /** Every digest that can be reached. */
  const reachable = (tag: string): Set<string> => {
    const found = new Set<string>();
    const follow = (name: string): void => {
      const bytes = documents.get(name)?.bytes;
      if (bytes === undefined) return;
      const text = bytes.toString();
      found.add(digestOf(bytes));
      for (const [, digest = ""] of text.matchAll(/"digest":"(sha256:[0-9a-f]+)"/g)) {
        found.add(digest);
        follow(digest);
      }
    };
    follow(tag);
    return found;
  };

  test.each(["attested", "nested", "artifact"])("%s: nothing is missing, nothing is changed", async (tag) => {
    const layout = await save(tag, "oci-dir");
    expect(new Set(await contentsOf(layout))).toEqual(reachable(tag));
    const top = JSON.parse(await readFile(join(layout, "index.json"), "utf8")) as { manifests: object[] };
    expect(top.manifests).toMatchObject([{ digest: digestOf(documents.get(tag)?.bytes ?? "") }]);
  });

  test.skipIf(missing.length > 0)("skopeo copies what was saved, attestations too", async () => {
    const archive = await save("attested", "oci-archive");
    const copied = join(dir, "copied");
    const places = [`oci-archive:${archive}`, `oci:${copied}:1`];
    await run("skopeo", ["--insecure-policy", "copy", "-q", "--all", ...places]);
    expect(new Set(await contentsOf(copied))).toEqual(reachable("attested"));
    for (const tag of ["nested", "artifact"]) {
      const args = ["inspect", "--raw", `oci-archive:${await save(tag, "oci-archive")}`];
      const { stdout } = await run("skopeo", args, { encoding: "buffer" });
      expect(stdout.equals(documents.get(tag)?.bytes ?? Buffer.alloc(0)), tag).toBe(true);
    }
  });

  test("the image in it is loaded", async () => {
    const [loaded] = await flamebox.loadImages(
      { path: await save("attested", "oci-archive") },
      { ...(await newHome()), platform: "linux/amd64" },
    );
    expect(loaded).toMatchObject({ id, digest: digestOf(documents.get("attested")?.bytes ?? "") });
  });

  test.each([
    ["unverifiable", "invalid-manifest"],
    ["two-types", "invalid-manifest"],
    ["unknown", "unsupported-media-type"],
  ])("%s: what cannot be copied whole is not copied", async (tag, code) => {
    await expect(save(tag, "oci-archive")).rejects.toMatchObject({ code });
  });
});
