/** Where a pushed image came from: with which settings it is asked again, and what it is not told. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import * as flamebox from "../../src/index.ts";
import type { OperationOptions, RegistryAccess } from "../../src/index.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { makeAuthority } from "../support/authority.ts";
import { startServer } from "../support/loopback-server.ts";
import { writeLayout } from "../support/oci-layout.ts";
import { missingPrograms } from "../support/programs.ts";
import { startRegistry } from "../support/registry.ts";
import type { TestRegistry } from "../support/registry.ts";
import { tarOf } from "./memory-source.ts";

const missing = missingPrograms("docker-registry", "skopeo", "openssl");
const platform = hostPlatform(process.arch) as { os: string; architecture: string };

describe.skipIf(missing.length > 0)(`origins (need ${missing.join(", ") || "nothing"})`, () => {
  let dir: string;
  let ca: string;
  let caPath: string;
  let tls: TestRegistry;
  let guarded: TestRegistry;
  let second: TestRegistry;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-origins-"));
    const authority = await makeAuthority(dir);
    const { certPath, keyPath } = await authority.issue("server", {
      subject: "/CN=x",
      names: "IP:127.0.0.1",
    });
    ({ cert: ca, certPath: caPath } = authority);
    [tls, guarded, second] = await Promise.all([
      startRegistry({ tls: { certificate: certPath, key: keyPath } }),
      startRegistry({ auth: "basic" }),
      startRegistry(),
    ]);
    await writeLayout(join(dir, "layout"), "1", [
      { platform, layers: [await tarOf({ "etc/motd": "hi\n" })] },
    ]);
    for (const registry of [tls, guarded]) await registry.push(join(dir, "layout"), "1", "a/b:1");
  });
  afterAll(async () => {
    for (const registry of [tls, guarded, second]) await registry?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  interface Home extends OperationOptions, RegistryAccess {
    readonly notices: string[];
  }
  async function homeWith(...registries: readonly object[]): Promise<Home> {
    const made = await mkdtemp(join(dir, "home-"));
    await writeFile(join(made, "registries.json"), JSON.stringify({ registries }));
    const notices: string[] = [];
    return {
      paths: flamebox.locatePaths({ FLAMEBOX_HOME: made }),
      notices,
      onNotice: (notice) => void notices.push(notice),
      dockerConfig: null,
      certificateDirs: [],
      trustStore: { files: [], dirs: [] },
      registrySettings: [join(made, "registries.json")],
    };
  }
  const credentialsOf = ({ username, password }: TestRegistry) => ({ username, password });
  let count = 0;
  const pushAs = async (id: string, host: string, home: Home, more: RegistryAccess = {}) => {
    const name = `${host}/pushed/number:${++count}x`;
    await flamebox.tagImage(id, name, home);
    return await flamebox.push(name, { ...home, ...more });
  };
  /** No blob of it is at the destination already. */
  const newDestination = async (): Promise<string> => {
    const made = await startRegistry();
    onTestFinished(() => made[Symbol.asyncDispose]());
    return made.host;
  };

  test("insecure is for the registry that is pushed to", async () => {
    const home = await homeWith();
    const { id } = await flamebox.pull(`${tls.host}/a/b:1`, { ...home, ca });
    const pushed = await pushAs(id, await newDestination(), home, { insecure: true });
    expect(pushed.rebuiltLayers).toBe(1);
    expect(home.notices[0]).toMatch(/not to be had again: .*cannot be trusted/);
  });

  test("credentials are for the registry that is pushed to", async () => {
    const home = await homeWith();
    const credentials = credentialsOf(guarded);
    const { id } = await flamebox.pull(`${guarded.host}/a/b:1`, { ...home, credentials });
    const pushed = await pushAs(id, await newDestination(), home, { credentials });
    expect(pushed.rebuiltLayers).toBe(1);
    expect(home.notices[0]).toMatch(/not to be had again: .*without credentials/);
  });

  test("both are used where the image came from that registry", async () => {
    const home = await homeWith();
    const credentials = credentialsOf(guarded);
    // It mounts nothing, so that its other repository has to be read.
    const proxy = await startServer((request, response) => {
      const path = request.url?.replace(/\?mount=.*$/, "");
      const { method, headers } = request;
      const asked = httpRequest(
        { port: guarded.port, host: "127.0.0.1", path, method, headers },
        (answer) => {
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(response);
        },
      );
      request.pipe(asked);
    });
    onTestFinished(() => proxy[Symbol.asyncDispose]());
    const { id, digest } = await flamebox.pull(`${proxy.host}/a/b:1`, { ...home, credentials });
    const pushed = await pushAs(id, proxy.host, home, { credentials });
    expect(pushed).toMatchObject({ digest, rebuiltLayers: 0 });
    expect(home.notices).toEqual([]);
    // Config and layer when it was pulled, and the layer when it was pushed.
    const reads = proxy.requests.filter(
      ({ line, headers }) => line.startsWith("GET /v2/a/b/blobs/") && headers.authorization !== undefined,
    );
    expect(reads).toHaveLength(3);
  });

  test("a mirror is not told the registry's credentials", async () => {
    const home = await homeWith({ prefix: "127.0.0.1:1", mirrors: [{ location: guarded.host }] });
    const pulling = flamebox.pull("127.0.0.1:1/a/b:1", { ...home, credentials: credentialsOf(guarded) });
    await expect(pulling).rejects.toMatchObject({ code: "registry-unreachable" });
    expect(home.notices).toEqual([expect.stringContaining("without credentials")]);
  });

  test.each<readonly [string, () => object]>([
    ["a mirror", () => ({ mirrors: [{ location: tls.host, ca: caPath }] })],
    ["a part of a mirror", () => ({ mirrors: [{ location: `${tls.host}/a`, ca: caPath }] })],
    ["an insecure mirror", () => ({ mirrors: [{ location: tls.host, insecure: true }] })],
    ["another location", () => ({ location: tls.host, ca: caPath })],
  ])("%s is asked again with its own settings, and the digest stays", async (what, settings) => {
    const home = await homeWith({ prefix: "127.0.0.1:1", ...settings() });
    const name = what.startsWith("a part") ? "127.0.0.1:1/b:1" : "127.0.0.1:1/a/b:1";
    const { id, digest } = await flamebox.pull(name, home);
    const pushed = await pushAs(id, await newDestination(), home);
    expect(home.notices).toEqual([]);
    expect(pushed).toMatchObject({ digest, rebuiltLayers: 0 });
  });

  test("what is blocked meanwhile is not asked", async () => {
    const home = await homeWith();
    const { id } = await flamebox.pull(`${tls.host}/a/b:1`, { ...home, ca });
    const [settings = ""] = home.registrySettings ?? [];
    await writeFile(settings, JSON.stringify({ registries: [{ prefix: tls.host, blocked: true }] }));
    const pushed = await pushAs(id, await newDestination(), home, { ca });
    expect(pushed.rebuiltLayers).toBe(1);
    expect(home.notices[0]).toContain("blocked");
  });
});
