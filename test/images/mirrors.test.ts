/** Mirrors: when the next place is asked, and when not. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import * as flamebox from "../../src/index.ts";
import type { OperationOptions, RegistryAccess } from "../../src/index.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { makeAuthority } from "../support/authority.ts";
import { startServer } from "../support/loopback-server.ts";
import type { LoopbackServer } from "../support/loopback-server.ts";
import { makeImage, writeLayout } from "../support/oci-layout.ts";
import type { WrittenImage } from "../support/oci-layout.ts";
import { missingPrograms } from "../support/programs.ts";
import { startRegistry } from "../support/registry.ts";
import type { TestRegistry } from "../support/registry.ts";
import { archive, entry } from "../support/tar-builder.ts";

const run = promisify(execFile);
const missing = missingPrograms("docker-registry", "skopeo", "openssl");
const platform = hostPlatform(process.arch) as { os: string; architecture: string };

describe.skipIf(missing.length > 0)(`mirrors (need ${missing.join(", ") || "nothing"})`, () => {
  let dir: string;
  let own: TestRegistry;
  let tls: TestRegistry;
  let guarded: TestRegistry;
  let caPath: string;
  let image: WrittenImage & { readonly configBytes: Buffer };
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-mirrors-"));
    const authority = await makeAuthority(dir);
    const { certPath, keyPath } = await authority.issue("server", {
      subject: "/CN=x",
      names: "IP:127.0.0.1",
    });
    caPath = authority.certPath;
    [own, tls, guarded] = await Promise.all([
      startRegistry(),
      startRegistry({ tls: { certificate: certPath, key: keyPath } }),
      startRegistry({ auth: "basic" }),
    ]);
    // Nothing that a small disk could hold, however it is compressed.
    const noise = Buffer.alloc(600_000);
    for (let i = 0, state = 1; i < noise.length; i++)
      noise[i] = (state = (state * 48_271) % 0x7fff_ffff) & 255;
    const layers = [archive(entry({ name: "noise" }, noise))];
    await writeLayout(join(dir, "layout"), "1", [{ platform, layers }]);
    image = makeImage({ platform, layers });
    for (const registry of [own, tls, guarded]) await registry.push(join(dir, "layout"), "1", "a/b:1");
  });
  afterAll(async () => {
    for (const registry of [own, tls, guarded]) await registry?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  interface Home extends OperationOptions, RegistryAccess {
    readonly paths: flamebox.Paths;
    readonly notices: string[];
  }
  async function homeWith(mirrors: readonly object[], at?: string): Promise<Home> {
    const made = at ?? (await mkdtemp(join(dir, "home-")));
    const settings = join(dir, `${made.split("/").at(-1)}.json`);
    await writeFile(settings, JSON.stringify({ registries: [{ prefix: own.host, mirrors }] }));
    const paths = flamebox.locatePaths({ FLAMEBOX_HOME: made });
    const notices: string[] = [];
    const trustStore = { files: [], dirs: [] };
    const nothing = { dockerConfig: null, certificateDirs: [], trustStore };
    const onNotice = (notice: string) => void notices.push(notice);
    return { paths, notices, onNotice, ...nothing, registrySettings: [settings] };
  }

  /** The image, but for what is said instead. */
  async function damaged(part: "manifest" | "config" | "layer"): Promise<LoopbackServer> {
    const server = await startServer((request, response) => {
      const url = request.url ?? "";
      const found = image.layers.find(({ digest }) => url.endsWith(digest));
      if (url.includes("/manifests/")) {
        const bytes =
          part === "manifest" ? Buffer.from(`${image.manifestBytes.toString()} `) : image.manifestBytes;
        response.setHeader("content-type", image.manifest.mediaType);
        response.end(bytes);
      } else if (url.endsWith(image.config.digest)) {
        const text = image.configBytes.toString();
        response.end(part === "config" ? text.replace("linux", "Linux") : text);
      } else if (found) response.end(part === "layer" ? Buffer.alloc(found.bytes.length, 1) : found.bytes);
      else response.writeHead(url === "/v2/" ? 200 : 404).end();
    });
    onTestFinished(() => server[Symbol.asyncDispose]());
    return server;
  }

  const byDigest = () => `${own.host}/a/b@${image.manifest.digest}`;
  const byTag = () => `${own.host}/a/b:1`;

  test.each<readonly [string, () => Promise<object>, () => string, RegExp | undefined]>([
    ["unreachable", async () => ({ location: "127.0.0.1:1" }), byTag, /connection refused/],
    ["401", async () => ({ location: guarded.host }), byTag, /without credentials/],
    ["without the image", async () => ({ location: `${tls.host}/none`, ca: caPath }), byTag, /not found/],
    [
      "a config with a wrong digest",
      async () => ({ location: (await damaged("config")).host }),
      byTag,
      /digest/,
    ],
    ["another layer", async () => ({ location: (await damaged("layer")).host }), byTag, /corrupt/],
    [
      "a manifest with a wrong digest",
      async () => ({ location: (await damaged("manifest")).host }),
      byDigest,
      /wrong digest/,
    ],
    ["TLS that nobody vouches for", async () => ({ location: tls.host }), byTag, /cannot be trusted/],
    ["TLS with its own authority", async () => ({ location: tls.host, ca: caPath }), byTag, undefined],
    ["TLS, insecure", async () => ({ location: tls.host, insecure: true }), byTag, undefined],
  ])("%s", async (_, mirror, name, notice) => {
    const home = await homeWith([await mirror()]);
    const pulled = await flamebox.pull(name(), home);
    expect(pulled.digest).toBe(image.manifest.digest);
    expect(home.notices).toHaveLength(notice ? 1 : 0);
    expect(home.notices.join()).toMatch(notice ?? /^$/);
    expect(home.notices.join()).toMatch(notice ? /^mirror 127\.0\.0\.1:.*; asking the next one$/ : /^$/);
    expect(await flamebox.checkImages(home)).toEqual([]);
  });

  test("--insecure is for the registry, not for its mirrors", async () => {
    const home = await homeWith([{ location: tls.host }]);
    await flamebox.pull(byTag(), { ...home, insecure: true });
    expect(home.notices).toEqual([expect.stringContaining("cannot be trusted")]);
  });

  test("several are asked in turn; the last place's error counts", async () => {
    const home = await homeWith([{ location: "127.0.0.1:1" }, { location: guarded.host }]);
    await expect(flamebox.pull(`${own.host}/not/here:1`, home)).rejects.toMatchObject({
      code: "image-not-found",
    });
    expect(home.notices).toEqual([
      expect.stringContaining("connection refused"),
      expect.stringContaining("without credentials"),
    ]);
  });

  test("a full disk is full for the next place, too", async (context) => {
    const small = join(dir, "small");
    await mkdir(small);
    const mounted = await run("mount", ["-t", "tmpfs", "-o", "size=300k", "flamebox-test", small]).then(
      () => true,
      () => false,
    );
    context.skip(!mounted, "mounting a small tmpfs needs root");
    onTestFinished(async () => void (await run("umount", ["-l", small])));
    const home = await homeWith([{ location: tls.host, ca: caPath }], small);
    await expect(flamebox.pull(byTag(), home)).rejects.toMatchObject({ code: "disk-full" });
    expect(home.notices).toEqual([]);
  });

  test("who gives up while a mirror answers asks nobody else", async () => {
    const controller = new AbortController();
    const server = await startServer(() => controller.abort(new Error("enough")));
    onTestFinished(() => server[Symbol.asyncDispose]());
    const home = await homeWith([{ location: server.host }]);
    const pulling = flamebox.pull(byTag(), { ...home, signal: controller.signal });
    await expect(pulling).rejects.toThrow("enough");
    expect(home.notices).toEqual([]);
  });

  test("settings that are wrong are said, whatever else could be asked", async () => {
    const home = await homeWith([{ location: tls.host, ca: join(dir, "nowhere.pem") }]);
    await expect(flamebox.pull(byTag(), home)).rejects.toMatchObject({ code: "invalid-settings" });
    expect(home.notices).toEqual([]);
  });
});
