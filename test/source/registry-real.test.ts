/** The registry source against Debian's docker-registry, filled by skopeo. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { passwordCredentials } from "../../src/auth/credentials.ts";
import { fixedKeychain } from "../../src/auth/keychain.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import { digestOf } from "../../src/reference/digest.ts";
import { parse } from "../../src/reference/reference.ts";
import { registrySource } from "../../src/source/registry/registry.ts";
import type { RegistrySourceOptions } from "../../src/source/registry/registry.ts";
import { writeLayout } from "../support/oci-layout.ts";
import type { WrittenImage } from "../support/oci-layout.ts";
import { startRegistry } from "../support/registry.ts";
import type { RegistryOptions, TestRegistry } from "../support/registry.ts";

const amd64 = { os: "linux", architecture: "amd64" };
const arm64 = { os: "linux", architecture: "arm64" };
const s390x = { os: "linux", architecture: "s390x" };

function exists(program: string): boolean {
  try {
    execFileSync("which", [program], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const missing = ["docker-registry", "skopeo", "openssl"].filter((program) => !exists(program));

async function collect(blob: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of blob) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => "no error",
    (error: unknown) => (error as { code?: string }).code,
  );
}

interface Setting {
  readonly name: string;
  readonly registry: RegistryOptions;
  readonly options: (registry: TestRegistry) => RegistrySourceOptions;
}

const withPassword = ({ host, username, password }: TestRegistry) =>
  fixedKeychain(host, passwordCredentials(username, password));

const settings: readonly Setting[] = [
  { name: "plain http", registry: {}, options: () => ({}) },
  { name: "basic auth", registry: { auth: "basic" }, options: (r) => ({ keychain: withPassword(r) }) },
  { name: "TLS with its CA", registry: { tls: true }, options: (r) => ({ ca: r.ca }) },
  { name: "TLS, insecure", registry: { tls: true }, options: () => ({ insecure: true }) },
  {
    name: "TLS and basic auth",
    registry: { tls: true, auth: "basic" },
    options: (r) => ({ ca: r.ca, keychain: withPassword(r) }),
  },
];

describe.skipIf(missing.length > 0)(
  `docker-registry (skips when one is missing: ${missing.join(", ")})`,
  () => {
    let dir: string;
    let images: WrittenImage[];
    let single: WrittenImage;

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), "flamebox-source-"));
      // Noise, so that gzip leaves it large: the big layer takes several reads.
      const layers = [randomBytes(3_000_000), Buffer.from("a small layer")];
      const own = { platform: amd64, layers, config: { Cmd: ["/bin/sh"] } };
      images = await writeLayout(join(dir, "multi"), "1", [
        own,
        { platform: arm64, layers: [Buffer.from("arm")] },
      ]);
      [single] = (await writeLayout(join(dir, "single"), "1", [own])) as [WrittenImage];
    });

    afterAll(async () => {
      await rm(dir, { recursive: true, force: true });
    });

    describe.each(settings)("$name", (setting) => {
      let registry: TestRegistry;

      beforeAll(async () => {
        registry = await startRegistry(setting.registry);
        await registry.push(join(dir, "multi"), "1", "team/multi:1", ["--all"]);
        await registry.push(join(dir, "single"), "1", "single:1");
        await registry.push(join(dir, "single"), "1", "docker:1", ["--format", "v2s2"]);
      });

      afterAll(async () => {
        await registry[Symbol.asyncDispose]();
      });

      const source = (name: string, more: RegistrySourceOptions = {}) =>
        registrySource(parse(`${registry.host}/${name}`), { ...setting.options(registry), ...more });

      test("an index gives the platform's image, and its blobs arrive whole", async () => {
        await using multi = source("team/multi:1");
        const image = await multi.resolve({ platform: amd64 });
        const [want] = images as [WrittenImage];
        expect(image.descriptor.digest).toBe(want.manifest.digest);
        expect(digestOf(image.manifestBytes)).toBe(want.manifest.digest);
        expect(image.referenceDigest).not.toBe(want.manifest.digest);
        const manifest = parseManifest(image.manifestBytes);
        for (const [i, layer] of manifest.layers.entries()) {
          expect((await collect(image.openBlob(layer))).equals(want.layers[i]?.bytes as Buffer)).toBe(true);
        }
        expect(digestOf(await collect(image.openBlob(manifest.config)))).toBe(want.config.digest);
        const other = await multi.resolve({ platform: arm64 });
        expect(other.descriptor.digest).toBe(images[1]?.manifest.digest);
        expect(other.referenceDigest).toBe(image.referenceDigest);
      });

      test("a digest pulls the same image", async () => {
        await using byDigest = source(`team/multi@${images[0]?.manifest.digest}`);
        const image = await byDigest.resolve({ platform: amd64 });
        expect(image.referenceDigest).toBe(images[0]?.manifest.digest);
      });

      test("an image without an index, and Docker's media types", async () => {
        await using oci = source("single:1");
        expect((await oci.resolve({ platform: amd64 })).descriptor.digest).toBe(single.manifest.digest);
        await using docker = source("docker:1");
        const image = await docker.resolve({ platform: amd64 });
        expect(image.descriptor.mediaType).toBe("application/vnd.docker.distribution.manifest.v2+json");
        const { config, layers } = parseManifest(image.manifestBytes);
        expect(digestOf(await collect(image.openBlob(config)))).toBe(config.digest);
        const blobs = await Promise.all(layers.map(async (layer) => collect(image.openBlob(layer))));
        expect(blobs.map((blob) => digestOf(blob))).toEqual(layers.map(({ digest }) => digest));
      });

      test("what is not there is named", async () => {
        await using noTag = source("single:2");
        await expect(noTag.resolve({ platform: amd64 })).rejects.toMatchObject({
          code: "image-not-found",
          message: expect.stringContaining("/single:2 not found") as string,
        });
        await using noName = source("nothing/here");
        expect(await codeOf(noName.resolve({ platform: amd64 }))).toBe("image-not-found");
        await using multi = source("team/multi:1");
        await expect(multi.resolve({ platform: s390x })).rejects.toMatchObject({
          code: "platform-not-found",
          message: expect.stringContaining("linux/amd64, linux/arm64") as string,
        });
        await using one = source("single:1");
        await expect(one.resolve({ platform: arm64 })).rejects.toMatchObject({
          code: "platform-not-found",
          message: expect.stringContaining("is for linux/amd64, not for linux/arm64") as string,
        });
      });

      test("wrong, missing and foreign credentials", async () => {
        if (setting.registry.auth !== "basic") return;
        await using anonymous = source("single:1", { keychain: undefined });
        expect(await codeOf(anonymous.resolve({ platform: amd64 }))).toBe("unauthorized");
        const wrong = fixedKeychain(registry.host, passwordCredentials("ali", "wr0ng-pass"));
        await using refused = source("single:1", { keychain: wrong });
        const error: unknown = await refused.resolve({ platform: amd64 }).catch((error: unknown) => error);
        expect(error).toMatchObject({ code: "unauthorized", status: 401 });
        expect(String((error as Error).stack)).not.toContain("wr0ng-pass");
      });

      test("an unverifiable certificate is an error, never a reason for http", async () => {
        if (!setting.registry.tls) return;
        await using strict = source("single:1", { ca: undefined, insecure: false });
        await expect(strict.resolve({ platform: amd64 })).rejects.toMatchObject({
          code: "tls-error",
          message: expect.stringContaining("self-signed") as string,
        });
      });
    });
  },
);
