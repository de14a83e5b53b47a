/**
 * Images that come, go and come again: through real registries, with and without TLS and passwords, through archives
 * and layouts, with skopeo as the other side. Digests are compared at every turn.
 */
import { execFile, spawnSync } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import * as flamebox from "../../src/index.ts";
import type { OperationOptions, RegistryAccess } from "../../src/index.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { digestOf } from "../../src/reference/digest.ts";
import { layerPaths, layoutOf } from "../../src/store/layout.ts";
import { writeLayout } from "../support/oci-layout.ts";
import type { WrittenImage } from "../support/oci-layout.ts";
import { missingPrograms } from "../support/programs.ts";
import { startRegistry } from "../support/registry.ts";
import type { TestRegistry } from "../support/registry.ts";
import { tarOf } from "./memory-source.ts";

const run = promisify(execFile);

const missing = missingPrograms("docker-registry", "skopeo");

const platform = hostPlatform(process.arch) as { os: string; architecture: string };
const foreign = { os: "linux", architecture: "s390x" };

describe.skipIf(missing.length > 0)(`images that leave (needs ${missing.join(", ") || "nothing"})`, () => {
  let dir: string;
  let plain: TestRegistry;
  let second: TestRegistry;
  let guarded: TestRegistry;
  let image: WrittenImage;
  let layers: Buffer[];

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-leaving-"));
    [plain, second, guarded] = await Promise.all([
      startRegistry(),
      startRegistry(),
      startRegistry({ tls: true, auth: "basic" }),
    ]);
    layers = await Promise.all([
      tarOf({ "etc/motd": "hello\n", "bin/tool": "tool ".repeat(50_000) }),
      tarOf({ "srv/app": "app ".repeat(9000), "etc/app.conf": "a=1\n" }),
    ]);
    const layout = join(dir, "layout");
    const config = { Env: ["A=1"], Labels: { tier: "web" }, Cmd: ["/bin/tool"] };
    const other = { platform: foreign, layers: [layers[0] as Buffer], config };
    [image] = (await writeLayout(layout, "1", [{ platform, layers, config }, other])) as [WrittenImage];
    await writeLayout(join(dir, "single"), "1", [{ platform, layers, config }]);
    for (const registry of [plain, guarded]) await registry.push(layout, "1", "team/app:1", ["--all"]);
    await plain.push(join(dir, "single"), "1", "team/single:1");
  });
  afterAll(async () => {
    for (const registry of [plain, second, guarded]) await registry?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const newDir = async (): Promise<string> => {
    const made = await mkdtemp(join(dir, "home-"));
    onTestFinished(() => rm(made, { recursive: true, force: true }));
    return made;
  };

  interface Home extends OperationOptions, RegistryAccess {
    readonly paths: flamebox.Paths;
    readonly notices: string[];
  }
  const newHome = async (access: RegistryAccess = {}): Promise<Home> => {
    const paths = flamebox.locatePaths({ FLAMEBOX_HOME: await newDir() });
    const notices: string[] = [];
    const nothing = { dockerConfig: null, registrySettings: [], certificateDirs: [] };
    return { paths, notices, onNotice: (notice) => void notices.push(notice), ...nothing, ...access };
  };

  const rawManifest = async (registry: TestRegistry, name: string): Promise<Buffer> => {
    const creds = registry.scheme === "https" ? ["--creds", `${registry.username}:${registry.password}`] : [];
    const args = ["inspect", "--raw", "--tls-verify=false", ...creds, `docker://${registry.host}/${name}`];
    return (await run("skopeo", args, { encoding: "buffer" })).stdout;
  };

  test("pull, tag, push in one registry: the digest stays, and no layer travels", async () => {
    const home = await newHome();
    const pulled = await flamebox.pull(`${plain.host}/team/single:1`, home);
    await flamebox.tagImage(pulled.reference, `${plain.host}/other/name:2`, home);
    const events = new Map<string, string>();
    const pushed = await flamebox.push(`${plain.host}/other/name:2`, {
      ...home,
      onProgress: ({ id, state, note }) => void events.set(id, `${state} ${note ?? ""}`),
    });
    expect(pushed).toMatchObject({ digest: pulled.digest, rebuiltLayers: 0 });
    expect(digestOf(await rawManifest(plain, "other/name:2"))).toBe(pulled.digest);
    expect([...events.values()]).toEqual(layers.map(() => "cached mounted from team/single"));
    // The second time everything is there.
    const again = await flamebox.push(`${plain.host}/other/name:2`, home);
    expect(again.digest).toBe(pulled.digest);
    expect(home.notices).toEqual([]);
  });

  test("to another registry, with TLS and a password: the digest stays as long as the first one answers", async () => {
    const credentials = { username: guarded.username, password: guarded.password };
    const home = await newHome({ ca: guarded.ca });
    const pulled = await flamebox.pull(`${plain.host}/team/app:1`, home);
    const name = `${guarded.host}/from/plain:1`;
    await flamebox.tagImage(pulled.reference, name, home);
    await expect(flamebox.push(name, home)).rejects.toMatchObject({ code: "unauthorized" });
    const pushed = await flamebox.push(name, { ...home, credentials });
    expect(pushed).toMatchObject({ digest: image.manifest.digest, rebuiltLayers: 0 });
    const target = await newHome({ ca: guarded.ca, credentials });
    expect((await flamebox.pull(name, target)).id).toBe(pulled.id);
  });

  test("when the first registry has gone: layers are compressed anew, and the id stays", async () => {
    const home = await newHome();
    const gone = await startRegistry();
    await gone.push(join(dir, "single"), "1", "x/y:1");
    const pulled = await flamebox.pull(`${gone.host}/x/y:1`, home);
    await gone[Symbol.asyncDispose]();
    const name = `${second.host}/rebuilt/app:1`;
    await flamebox.tagImage(pulled.id, name, home);
    const pushed = await flamebox.push(name, home);
    expect(pushed.rebuiltLayers).toBe(2);
    expect(pushed.digest).not.toBe(pulled.digest);
    expect(home.notices.at(-1)).toContain("compressed anew");
    const manifest = JSON.parse((await rawManifest(second, "rebuilt/app:1")).toString()) as {
      config: { digest: string };
    };
    expect(manifest.config.digest).toBe(pulled.id);
    const other = await newHome();
    expect((await flamebox.pull(name, other)).id).toBe(pulled.id);
    // zlib gives the same bytes again, so that nothing new is made by a second push.
    expect((await flamebox.push(name, home)).digest).toBe(pushed.digest);
  });

  test("save and load: skopeo reads it both ways, and the same image gives the same bytes anywhere", async () => {
    const home = await newHome();
    const out = await newDir();
    const pulled = await flamebox.pull(`${plain.host}/team/app:1`, home);
    const archive = join(out, "a.tar");
    await flamebox.saveImages([pulled.reference], { ...home, output: archive });
    for (const transport of ["docker-archive", "oci-archive"]) {
      const args = ["inspect", "--config", "--raw", `${transport}:${archive}`];
      const { stdout } = await run("skopeo", args, { encoding: "buffer" });
      expect(digestOf(stdout)).toBe(pulled.id);
      const copied = join(out, `copied-${transport}`);
      await run("skopeo", ["--insecure-policy", "copy", "-q", `${transport}:${archive}`, `dir:${copied}`]);
      const found = await readdir(copied);
      expect(found).toContain(pulled.id.slice("sha256:".length));
    }
    const other = await newHome();
    const [loaded] = await flamebox.loadImages({ path: archive }, other);
    expect(loaded).toMatchObject({ id: pulled.id, reference: pulled.reference });
    const again = join(out, "b.tar");
    await flamebox.saveImages([pulled.reference], { ...other, output: again });
    expect((await readFile(again)).equals(await readFile(archive))).toBe(true);
    expect(await flamebox.checkImages(other)).toEqual([]);
  });

  test("to a stream and from one; by id there is no name; the archive holds each layer once", async () => {
    const home = await newHome();
    const pulled = await flamebox.pull(`${plain.host}/team/single:1`, home);
    await flamebox.tagImage(pulled.id, "mine:1", home);
    const pipe = new PassThrough();
    const chunks: Buffer[] = [];
    pipe.on("data", (chunk: Buffer) => chunks.push(chunk));
    await flamebox.saveImages([pulled.reference, "mine:1"], { ...home, output: pipe });
    pipe.end();
    const listed = spawnSync("tar", ["t"], { input: Buffer.concat(chunks), encoding: "utf8" }).stdout.split(
      "\n",
    );
    expect(listed.filter((name) => name !== "").length).toBe(new Set(listed).size - 1);
    const other = await newHome();
    const loaded = await flamebox.loadImages(
      {
        stream: (async function* () {
          yield* chunks;
        })(),
        name: "standard input",
      },
      other,
    );
    expect(loaded.map(({ reference }) => reference).sort()).toEqual([pulled.reference, "mine:1"].sort());

    const byId = join(await newDir(), "id.tar");
    await flamebox.saveImages([pulled.id], { ...home, output: byId });
    const third = await newHome();
    const [unnamed] = await flamebox.loadImages({ path: byId }, third);
    expect(unnamed).toMatchObject({ repository: "<none>", id: pulled.id });
    expect(await flamebox.listImages({ ...third, filters: ["dangling=true"] })).toHaveLength(1);
    const named = await flamebox.tagImage(pulled.id.slice(7, 19), "found:1", third);
    expect(named.reference).toBe("found:1");
    expect(await flamebox.listImages({ ...third, filters: ["dangling=true"] })).toEqual([]);
  });

  test("a layout in a directory is made, added to, and read by skopeo", async () => {
    const home = await newHome();
    const out = join(await newDir(), "layout");
    const pulled = await flamebox.pull(`${plain.host}/team/single:1`, home);
    await flamebox.tagImage(pulled.reference, "mine:2", home);
    const save = (name: string) => flamebox.saveImages([name], { ...home, output: out, format: "oci-dir" });
    await save(pulled.reference);
    await save("mine:2");
    await save("mine:2");
    const index = JSON.parse(await readFile(join(out, "index.json"), "utf8")) as { manifests: object[] };
    expect(index.manifests).toHaveLength(2);
    for (const tag of ["1", "2"]) {
      const { stdout } = await run("skopeo", ["inspect", "--config", "--raw", `oci:${out}:${tag}`], {
        encoding: "buffer",
      });
      expect(digestOf(stdout)).toBe(pulled.id);
    }
    const other = await newHome();
    expect(await flamebox.pull(`oci:${out}:2`, other)).toMatchObject({ reference: "mine:2", id: pulled.id });
    await writeFile(join(out, "..", "file"), "x");
    await expect(
      flamebox.saveImages(["mine:2"], { ...home, output: join(out, "..", "file"), format: "oci-archive" }),
    ).rejects.toMatchObject({ code: "file-exists" });
    await mkdir(join(out, "..", "full"));
    await writeFile(join(out, "..", "full", "x"), "x");
    await expect(
      flamebox.saveImages(["mine:2"], { ...home, output: join(out, "..", "full"), format: "oci-dir" }),
    ).rejects.toMatchObject({ code: "invalid-archive" });
  });

  test("into a layout of skopeo's: a tag stands for what was saved last, and other tags stay", async () => {
    const home = await newHome();
    const out = join(await newDir(), "layout");
    const imported = await flamebox.importImage(
      { stream: Readable.from([layers[1] as Buffer]), name: "-" },
      "mine:1",
      home,
    );
    const copy = async (tag: string) => {
      const places = [`docker://${plain.host}/team/single:1`, `oci:${out}:${tag}`];
      await run("skopeo", ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", ...places]);
    };
    const idOf = async (tag: string) => {
      const args = ["inspect", "--config", "--raw", `oci:${out}:${tag}`];
      return digestOf((await run("skopeo", args, { encoding: "buffer" })).stdout);
    };
    for (const tag of ["1", "stable"]) await copy(tag);
    const old = await idOf("1");
    await flamebox.saveImages(["mine:1"], { ...home, output: out, format: "oci-dir" });
    expect([await idOf("1"), await idOf("stable")]).toEqual([imported.id, old]);
    // The image itself under another name takes no name from it.
    await flamebox.tagImage("mine:1", "mine:2", home);
    await flamebox.saveImages(["mine:2"], { ...home, output: out, format: "oci-dir" });
    const index = JSON.parse(await readFile(join(out, "index.json"), "utf8")) as { manifests: object[] };
    expect(index.manifests).toHaveLength(3);
    expect([await idOf("1"), await idOf("2"), await idOf("stable")]).toEqual([imported.id, imported.id, old]);
  });

  test("all platforms, straight from the registry: index and manifests as they are there", async () => {
    const home = await newHome();
    const archive = join(await newDir(), "all.tar");
    const options = { ...home, output: archive, format: "oci-archive", allPlatforms: true } as const;
    await flamebox.saveImages([`${plain.host}/team/app:1`], options);
    const index = await rawManifest(plain, "team/app:1");
    const { stdout } = await run("skopeo", ["inspect", "--raw", `oci-archive:${archive}`], {
      encoding: "buffer",
    });
    expect(stdout.equals(index)).toBe(true);
    const other = await newHome();
    const [loaded] = await flamebox.loadImages({ path: archive }, other);
    expect(loaded?.digest).toBe(digestOf(index));
    const [second_] = await flamebox.loadImages({ path: archive }, { ...other, platform: "linux/s390x" });
    expect(second_?.platform).toBe("linux/s390x");
    await expect(
      flamebox.saveImages([`${plain.host}/team/app:1`], {
        ...options,
        format: "docker-archive",
        force: true,
      }),
    ).rejects.toMatchObject({ code: "invalid-option" });
  });

  test("what skopeo writes: docker-archive, oci-archive, dir, oci, plain and compressed", async () => {
    const out = await newDir();
    const source = `docker://${plain.host}/team/single:1`;
    const places = [
      `docker-archive:${out}/d.tar:sk/app:1`,
      `oci-archive:${out}/o.tar:1`,
      `dir:${out}/dir`,
      `oci:${out}/oci:1`,
    ];
    for (const place of places)
      await run("skopeo", ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", source, place]);
    const [, id] =
      /"digest":"(sha256:[0-9a-f]+)"/.exec((await rawManifest(plain, "team/single:1")).toString()) ?? [];
    for (const place of [...places, `docker-archive:${out}/d.tar`, `oci-archive:${out}/o.tar:@0`]) {
      const home = await newHome();
      expect((await flamebox.pull(place, home)).id, place).toBe(id);
      expect(await flamebox.checkImages(home)).toEqual([]);
    }
    await run("gzip", ["-k", join(out, "d.tar")]);
    const home = await newHome();
    const stream = createReadStream(join(out, "d.tar.gz")) as AsyncIterable<Uint8Array>;
    const [loaded] = await flamebox.loadImages({ stream, name: "-" }, home);
    expect(loaded).toMatchObject({ reference: "sk/app:1", id });
  });

  test("import makes an image that pushes, and skopeo finds its config", async () => {
    const home = await newHome();
    const tree = await tarOf({ "bin/hi": "#!/bin/sh\n", "etc/x": "x".repeat(5000) });
    const path = join(await newDir(), "rootfs.tar.gz");
    await writeFile(path, spawnSync("gzip", ["-c"], { input: tree }).stdout);
    const changes = ['CMD ["/bin/hi"]', "ENV A=b", "LABEL made=here"];
    const imported = await flamebox.importImage({ path }, `${second.host}/my/import:1`, {
      ...home,
      changes,
      message: "by hand",
      platform: "linux/arm64",
    });
    const details = await flamebox.inspectImage(imported.reference, home);
    expect(details.layers[0]?.diffId).toBe(digestOf(tree));
    expect(details.config).toEqual({ Cmd: ["/bin/hi"], Env: ["A=b"], Labels: { made: "here" } });
    expect(details.history).toMatchObject([{ comment: "by hand" }]);
    expect(details.platform).toEqual({ os: "linux", architecture: "arm64" });
    await flamebox.push(imported.reference, home);
    const place = `docker://${second.host}/my/import:1`;
    const copied = join(await newDir(), "dir");
    await run("skopeo", [
      "--insecure-policy",
      "--override-arch",
      "arm64",
      "copy",
      "-q",
      "--src-tls-verify=false",
      place,
      `dir:${copied}`,
    ]);
    const { layers: sent } = JSON.parse(await readFile(join(copied, "manifest.json"), "utf8")) as {
      layers: { digest: string }[];
    };
    const layer = await readFile(join(copied, sent[0]?.digest.slice(7) ?? ""));
    expect(digestOf(gunzipSync(layer))).toBe(digestOf(tree));
    await expect(flamebox.importImage({ path }, "x", { ...home, changes: ["RUN x"] })).rejects.toMatchObject({
      code: "invalid-change",
    });
    await expect(flamebox.importImage({ path: join(dir, "none") }, "x", home)).rejects.toMatchObject({
      code: "archive-not-found",
    });
  });

  test("inspect, filters, usage, prune and check", async () => {
    const home = await newHome();
    const pulled = await flamebox.pull(`${plain.host}/team/app:1`, home);
    await flamebox.tagImage(pulled.reference, "web/app:1", home);
    const details = await flamebox.inspectImage("web/app:1", home);
    expect(details).toMatchObject({
      id: pulled.id,
      tags: [pulled.reference, "web/app:1"],
      config: { Cmd: ["/bin/tool"] },
    });
    expect(details.layers.map(({ diffId }) => diffId)).toEqual(image.layers.map(({ diffId }) => diffId));
    expect(details.digests).toContain(`${plain.host}/team/app@${pulled.digest}`);
    const names = async (...filters: string[]) =>
      (await flamebox.listImages({ ...home, filters })).map(({ reference }) => reference);
    expect(await names("reference=web/*")).toEqual(["web/app:1"]);
    expect(await names("reference=*/app")).toEqual(["web/app:1"]);
    expect(await names("label=tier=web", "reference=web/app:*")).toEqual(["web/app:1"]);
    expect(await names("label=tier=db")).toEqual([]);
    expect(await names("label=tier", "label=none")).toEqual([]);
    expect(await names("since=web/app:1")).toEqual([]);
    expect(await names("until=1s")).toHaveLength(2);
    for (const filter of ["x=1", "reference", "dangling=maybe", "until=soon"])
      await expect(names(filter)).rejects.toMatchObject({ code: "invalid-filter" });

    const usage = await flamebox.imageUsage(home);
    expect(usage).toMatchObject({ images: 1, active: 0, layers: 2 });
    expect(usage.reclaimableBytes).toBe(usage.sizeBytes);
    expect(await flamebox.pruneImages(home)).toMatchObject({ untagged: [], deleted: [] });
    expect(await flamebox.pruneImages({ ...home, all: true, filters: ["label=tier=db"] })).toMatchObject({
      untagged: [],
    });
    const { untagged, deleted } = await flamebox.pruneImages({ ...home, all: true });
    expect(untagged).toHaveLength(2);
    expect(deleted).toHaveLength(4);
    expect((await flamebox.imageUsage(home)).sizeBytes).toBe(0);
  });

  test("a flipped bit in a layer's data is found, and a pull fetches that layer alone", async () => {
    const home = await newHome();
    await flamebox.pull(`${plain.host}/team/single:1`, home);
    const { diffId } = image.layers[0] as WrittenImage["layers"][number];
    const { blobPath } = layerPaths(layoutOf(home.paths.dataDir), diffId);
    const bytes = await readFile(blobPath);
    bytes[100] = (bytes[100] as number) ^ 1;
    await writeFile(blobPath, bytes);
    // One that was touched is read, however quick the check is to be.
    expect(await flamebox.checkImages({ ...home, quick: true })).toMatchObject([{ kind: "damaged" }]);
    expect(await flamebox.checkImages(home)).toMatchObject([{ kind: "damaged", path: blobPath }]);
    const output = join(await newDir(), "x.tar");
    await expect(
      flamebox.saveImages([`${plain.host}/team/single:1`], { ...home, output }),
    ).rejects.toMatchObject({ code: "layer-headers-corrupt" });
    await expect(stat(output)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("login tries the credentials, keeps them, and pull and skopeo use them; logout forgets", async () => {
    const dockerConfig = join(await newDir(), "config.json");
    const home = await newHome({ ca: guarded.ca, dockerConfig });
    const name = `${guarded.host}/team/app:1`;
    await expect(flamebox.pull(name, home)).rejects.toMatchObject({ code: "unauthorized" });
    const wrong = { username: guarded.username, password: "wrong" };
    await expect(flamebox.login(guarded.host, wrong, home)).rejects.toMatchObject({ code: "unauthorized" });
    await expect(stat(dockerConfig)).rejects.toMatchObject({ code: "ENOENT" });
    const { username, password } = guarded;
    expect(await flamebox.login(`https://${guarded.host}/`, { username, password }, home)).toEqual({
      registry: guarded.host,
      path: dockerConfig,
    });
    expect((await stat(dockerConfig)).mode & 0o777).toBe(0o600);
    await flamebox.pull(name, home);
    const args = ["inspect", "--authfile", dockerConfig, "--tls-verify=false", `docker://${name}`];
    expect((await run("skopeo", args)).stdout).toContain('"Layers"');
    expect(await flamebox.logout(guarded.host, home)).toMatchObject({ wasThere: true });
    await expect(flamebox.pull(name, home)).rejects.toMatchObject({ code: "unauthorized" });
    await expect(flamebox.login("team", { username, password }, home)).rejects.toMatchObject({
      code: "invalid-registry",
    });
  });

  test("skopeo's logins are used, also those for a part of a registry", async () => {
    const authFile = join(await newDir(), "auth.json");
    const { username, password } = guarded;
    const login = ["login", "--tls-verify=false", "--authfile", authFile, "-u", username, "--password-stdin"];
    const child = spawnSync("skopeo", [...login, `${guarded.host}/team`], { input: password });
    expect(child.status, String(child.stderr)).toBe(0);
    const home = await newHome({
      ca: guarded.ca,
      dockerConfig: join(dir, "none"),
      containersAuthFiles: [authFile],
    });
    await flamebox.pull(`${guarded.host}/team/app:1`, home);
    await expect(flamebox.pull(`${guarded.host}/other/app:1`, home)).rejects.toMatchObject({
      code: "unauthorized",
    });
  });

  test("a mirror is asked first, and the registry itself when the mirror has nothing", async () => {
    const settings = join(await newDir(), "registries.json");
    const mirror = { location: `${second.host}/mirrored` };
    await writeFile(settings, JSON.stringify({ registries: [{ prefix: plain.host, mirrors: [mirror] }] }));
    const home = await newHome({ registrySettings: [settings] });
    await flamebox.pull(`${plain.host}/team/app:1`, home);
    expect(home.notices).toHaveLength(1);
    expect(home.notices[0]).toContain("mirrored/team/app");
    await second.push(join(dir, "single"), "1", "mirrored/only/there:1");
    const pulled = await flamebox.pull(`${plain.host}/only/there:1`, home);
    expect(pulled.reference).toBe(`${plain.host}/only/there:1`);
    await writeFile(settings, JSON.stringify({ registries: [{ prefix: plain.host, blocked: true }] }));
    await expect(flamebox.pull(`${plain.host}/team/app:1`, home)).rejects.toMatchObject({
      code: "registry-blocked",
    });
  });

  test("certificates by directory; what is wrong with one is said", async () => {
    const credentials = { username: guarded.username, password: guarded.password };
    const name = `${guarded.host}/team/app:1`;
    const untrusting = await newHome({ credentials });
    await expect(flamebox.pull(name, untrusting)).rejects.toMatchObject({
      code: "tls-error",
      message: expect.stringContaining("self-signed"),
      hint: expect.stringContaining(`certs.d/${guarded.host}/ca.crt`),
    });
    const certs = await newDir();
    await mkdir(join(certs, guarded.host));
    await writeFile(join(certs, guarded.host, "ca.crt"), guarded.ca ?? "");
    const trusting = await newHome({ credentials, certificateDirs: [certs] });
    await flamebox.pull(name, trusting);
  });
});
