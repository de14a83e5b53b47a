/** Whom the system trusts, FlameBox trusts: as docker and skopeo do, and only when nobody else vouches. */
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pullOptionsFrom } from "../../src/cli/args/access.ts";
import { connectionTo, ownEndpoint } from "../../src/container/access.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { parse } from "../../src/reference/reference.ts";
import { registrySource } from "../../src/source/registry/registry.ts";
import type { RegistrySourceOptions } from "../../src/source/registry/registry.ts";
import { registryTarget } from "../../src/source/registry/push.ts";
import { systemAuthorities } from "../../src/source/registry/trust.ts";
import { digestOf } from "../../src/reference/digest.ts";
import { makeAuthority } from "../support/authority.ts";
import type { Authority } from "../support/authority.ts";
import { writeLayout } from "../support/oci-layout.ts";
import { missingPrograms } from "../support/programs.ts";
import { startRegistry } from "../support/registry.ts";
import type { TestRegistry } from "../support/registry.ts";

const missing = missingPrograms("docker-registry", "openssl", "skopeo");

describe.skipIf(missing.length > 0)(`the system's trust (needs ${missing.join(", ") || "nothing"})`, () => {
  const platform = hostPlatform(process.arch) as { os: string; architecture: string };
  let dir = "";
  let authority: Authority;
  let other: Authority;
  let registry: TestRegistry;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-trust-"));
    [authority, other] = await Promise.all([makeAuthority(dir), makeAuthority(dir, "other")]);
    const issued = await authority.issue("server", { subject: "/CN=x", names: "IP:127.0.0.1" });
    registry = await startRegistry({ tls: { certificate: issued.certPath, key: issued.keyPath } });
    await writeLayout(join(dir, "layout"), "1", [{ platform, layers: [Buffer.from("no tar")] }]);
    await registry.push(join(dir, "layout"), "1", "a/b:1");
  });
  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const nothing = { files: [], dirs: [] };
  let serial = 0;
  async function newDir(files: Readonly<Record<string, string>> = {}): Promise<string> {
    const made = join(dir, `${++serial}`);
    await mkdir(made);
    for (const [name, text] of Object.entries(files)) await writeFile(join(made, name), text);
    return made;
  }
  const bundle = async (text: string) => join(await newDir({ "bundle.pem": text }), "bundle.pem");

  async function resolve(options: RegistrySourceOptions): Promise<string> {
    await using source = registrySource(parse(`${registry.host}/a/b:1`), { attempts: 1, ...options });
    try {
      await source.resolve({ platform });
      return "resolved";
    } catch (error) {
      return (error as { code: string }).code;
    }
  }

  it.each<readonly [string, () => Promise<RegistrySourceOptions>, string]>([
    ["nobody", async () => ({ trustStore: nothing }), "tls-error"],
    [
      "a bundle that has it",
      async () => ({ trustStore: { ...nothing, files: [await bundle(other.cert + authority.cert)] } }),
      "resolved",
    ],
    [
      "a bundle behind places that are not there",
      async () => ({
        trustStore: { ...nothing, files: ["/nowhere/a", dir, await bundle(authority.cert)] },
      }),
      "resolved",
    ],
    [
      "the first bundle only",
      async () => ({
        trustStore: { ...nothing, files: [await bundle(other.cert), await bundle(authority.cert)] },
      }),
      "tls-error",
    ],
    [
      "a directory of certificates",
      async () => ({
        trustStore: {
          ...nothing,
          dirs: [await newDir({ "o.pem": other.cert }), await newDir({ "a.pem": authority.cert })],
        },
      }),
      "resolved",
    ],
    [
      "a bundle beside a certificate of certs.d that is another's",
      async () => ({
        ca: other.cert,
        trustStore: { ...nothing, files: [await bundle(authority.cert)] },
      }),
      "resolved",
    ],
    [
      "a certificate of certs.d, whatever the bundle has",
      async () => ({ ca: authority.cert, trustStore: { ...nothing, files: [await bundle(other.cert)] } }),
      "resolved",
    ],
    [
      "NODE_EXTRA_CA_CERTS beside certs.d",
      async () => ({ ca: other.cert, trustStore: { ...nothing, extraFile: await bundle(authority.cert) } }),
      "resolved",
    ],
    [
      "a damaged certificate before it",
      async () => {
        const damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        return { trustStore: { ...nothing, files: [await bundle(damaged + authority.cert)] } };
      },
      "resolved",
    ],
    [
      "a bundle that is too large",
      async () => ({
        trustStore: { ...nothing, files: [await bundle("#".repeat(5_000_000) + authority.cert)] },
      }),
      "tls-error",
    ],
  ])("%s", async (_, options, want) => expect(await resolve(await options())).toBe(want));

  it.each([
    ["SSL_CERT_FILE", "SSL_CERT_FILE", "bundle.pem"],
    ["SSL_CERT_DIR", "SSL_CERT_DIR", ""],
    ["NODE_EXTRA_CA_CERTS", "NODE_EXTRA_CA_CERTS", "bundle.pem"],
  ])("%s, as a command is given it", async (_, name, file) => {
    const at = join(await newDir({ "bundle.pem": authority.cert }), file);
    const reference = parse(`${registry.host}/a/b:1`);
    const options = (env: Record<string, string>) => pullOptionsFrom({}, { HOME: dir, ...env });
    const connection = async (env: Record<string, string>) =>
      await connectionTo(await ownEndpoint(reference, options(env)), options(env));
    expect(await resolve(await connection({ [name]: at }))).toBe("resolved");
    expect(await resolve(await connection({ [name]: await bundle(other.cert) }))).toBe("tls-error");
  });

  it("a certificate for another name stays one, whoever vouches for it", async () => {
    const trustStore = { ...nothing, files: [await bundle(authority.cert)] };
    const at = parse(`localhost:${registry.port}/a/b:1`);
    await using source = registrySource(at, { attempts: 1, trustStore });
    await expect(source.resolve({ platform })).rejects.toMatchObject({
      code: "tls-error",
      message: expect.stringContaining("was made for 127.0.0.1"),
    });
  });

  it("is read once for all that a push sends, streams too", async () => {
    const trustStore = { ...nothing, files: [await bundle(authority.cert)] };
    await using target = registryTarget(parse(`${registry.host}/new/c:1`), { trustStore });
    const bytes = Buffer.alloc(100_000, "pushed");
    const open = async function* () {
      yield bytes;
    };
    // Chunks beyond what is kept in memory: the registry is sent a stream.
    const sent = await target.upload({ open }, { chunkBytes: 100 * 1024 * 1024 });
    expect(sent).toEqual({ digest: digestOf(bytes), size: bytes.length });
  });

  it("has what Node lacks, each once; links within a directory are not followed", async () => {
    const both = authority.cert + other.cert;
    const certs = await newDir({ "a.pem": both, "b.pem": both, "c.txt": "no certificate" });
    await symlink("a.pem", join(certs, "0.0"));
    await symlink("nowhere/at/all", join(certs, "broken"));
    await symlink(certs, join(certs, "loop"));
    const [root = ""] = rootCertificates;
    const files = [await bundle(`${root}\n${both.replaceAll("\n", "\r\n")}`)];
    const found = await systemAuthorities({ files, dirs: [certs, "/nowhere"] });
    expect(found.map((pem) => pem.replace(/\s/g, ""))).toEqual(
      [authority.cert, other.cert].map((pem) => pem.replace(/\s/g, "")),
    );
  });

  it("without anything said, it is this system's own", async () => {
    const found = await systemAuthorities();
    const own = await readFile("/etc/ssl/certs/ca-certificates.crt", "latin1").catch(() => undefined);
    if (own === undefined) return;
    const known = new Set(rootCertificates.map((pem) => pem.replace(/\s/g, "")));
    const wanted = (own.match(/-----BEGIN CERT[^]*?-----END CERTIFICATE-----/g) ?? []).filter(
      (pem) => !known.has(pem.replace(/\s/g, "")),
    );
    for (const pem of wanted) expect(found).toContain(pem);
  });
});
