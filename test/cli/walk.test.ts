/** Every command for images, as it is typed, with the real library against a real registry. */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { execute } from "../../src/cli/execute.ts";
import * as library from "../../src/index.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { writeLayout } from "../support/oci-layout.ts";
import type { WrittenImage } from "../support/oci-layout.ts";
import { missingPrograms } from "../support/programs.ts";
import { startRegistry } from "../support/registry.ts";
import type { TestRegistry } from "../support/registry.ts";
import { archive, entry } from "../support/tar-builder.ts";
import { FakeOutput, fakeContext } from "./fake-context.ts";

const run = promisify(execFile);
const missing = missingPrograms("docker-registry", "skopeo");

describe.skipIf(missing.length > 0)(`a walk (needs ${missing.join(", ") || "nothing"})`, () => {
  let dir: string;
  let registry: TestRegistry;
  let guarded: TestRegistry;
  /** Basic auth without TLS, and TLS without auth. */
  let plainAuth: TestRegistry;
  let open: TestRegistry;
  let image: WrittenImage;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-walk-"));
    [registry, guarded, plainAuth, open] = await Promise.all([
      startRegistry(),
      startRegistry({ tls: true, auth: "basic" }),
      startRegistry({ auth: "basic" }),
      startRegistry({ tls: true }),
    ]);
    const platform = hostPlatform(process.arch) as { os: string; architecture: string };
    const layers = [
      archive(entry({ name: "etc/motd" }, "hello")),
      archive(entry({ name: "srv/big" }, "x".repeat(9000))),
    ];
    const images = [{ platform, layers, config: { Labels: { tier: "web" }, Cmd: ["/x"] } }];
    [image] = (await writeLayout(join(dir, "layout"), "1", images)) as [WrittenImage];
    for (const one of [registry, guarded, plainAuth, open])
      await one.push(join(dir, "layout"), "1", "team/app:1");
    // certs.d, as podman has it.
    const certs = join(dir, "config", "containers", "certs.d", guarded.host);
    await mkdir(certs, { recursive: true });
    await writeFile(join(certs, "ca.crt"), guarded.ca ?? "");
  });
  afterAll(async () => {
    for (const one of [registry, guarded, plainAuth, open]) await one?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  interface Ended {
    readonly exitCode: number;
    readonly out: string;
    readonly err: string;
    readonly bytes: Buffer;
  }

  /** A terminal answers what is asked there. */
  async function flamebox(
    words: readonly string[],
    options: {
      readonly input?: Buffer | string;
      readonly answer?: string;
      readonly home?: string;
      readonly env?: Readonly<Record<string, string>>;
    } = {},
  ): Promise<Ended> {
    const env = {
      FLAMEBOX_HOME: join(dir, options.home ?? "home"),
      HOME: join(dir, "user"),
      XDG_CONFIG_HOME: join(dir, "config"),
      DOCKER_CONFIG: join(dir, "docker"),
      ...options.env,
    };
    const stdout = new FakeOutput();
    const chunks: Buffer[] = [];
    const write = stdout.write.bind(stdout) as (chunk: string | Buffer, ...rest: unknown[]) => boolean;
    // Text is not enough for archives.
    stdout.write = (chunk: string | Buffer, ...rest: unknown[]) => {
      chunks.push(Buffer.from(chunk as string));
      return write(chunk, ...rest);
    };
    const stdin = Object.assign(new PassThrough(), { isTTY: options.answer !== undefined });
    stdin.end(options.answer === undefined ? (options.input ?? "") : `${options.answer}\n`);
    const base = fakeContext({ env });
    const context = { ...base, stdout, stdin, loadLibrary: async () => library };
    const exitCode = await execute(words, context);
    return { exitCode, out: stdout.text, err: base.stderr.text, bytes: Buffer.concat(chunks) };
  }

  async function good(words: readonly string[], options = {}): Promise<string> {
    const { exitCode, out, err } = await flamebox(words, options);
    expect({ exitCode, err: exitCode === 0 ? "" : err }, words.join(" ")).toEqual({ exitCode: 0, err: "" });
    return out;
  }

  it("pull, tag, push, images, history, inspect, rmi", async () => {
    const name = `${registry.host}/team/app:1`;
    expect(await good(["pull", "-q", name])).toBe(`${name}\n`);
    expect(await good(["tag", name, `${registry.host}/other/app:2`])).toBe("");
    const pushed = await good(["push", `${registry.host}/other/app:2`]);
    expect(pushed).toBe(`Digest: ${image.manifest.digest}\n${registry.host}/other/app:2\n`);
    const json = JSON.parse(
      await good(["image", "push", "--json", `${registry.host}/other/app:2`]),
    ) as object;
    expect(json).toMatchObject({ digest: image.manifest.digest, rebuiltLayers: 0 });
    const listed = await good([
      "images",
      "--filter",
      "label=tier=web",
      "--format",
      "{{.Repository}}:{{.Tag}}",
    ]);
    expect(listed.split("\n").sort()).toEqual(["", name, `${registry.host}/other/app:2`].sort());
    expect(await good(["image", "ls", "-q", "-f", "reference=*/nothing/*:2"])).toBe("");
    expect(await good(["image", "ls", "-q", "-f", `reference=${registry.host}/other/*`])).toBe(
      `${registry.host}/other/app:2\n`,
    );
    for (const repository of [
      `${registry.host}/other/app`,
      `${registry.host}/other/app:2`,
      "*/o[a-z]her/app",
    ])
      expect(await good(["images", "-aq", repository])).toBe(`${registry.host}/other/app:2\n`);
    expect(await good(["images", "-q", "app"])).toBe("");
    expect(await good(["images", "--no-trunc", name])).toContain(image.manifest.digest);
    expect(await good(["images", "--no-trunc", "--format", "{{.ID}}", name])).toBe(
      `${image.config.digest}\n`,
    );
    expect(await flamebox(["rmi", image.config.digest])).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining("has several names"),
    });
    const [inspected] = JSON.parse(await good(["inspect", name])) as [Record<string, unknown>];
    expect(inspected).toMatchObject({
      Id: image.config.digest,
      RepoTags: [`${registry.host}/other/app:2`, name],
      RepoDigests: [
        `${registry.host}/other/app@${image.manifest.digest}`,
        `${registry.host}/team/app@${image.manifest.digest}`,
      ],
      Config: { Labels: { tier: "web" }, Cmd: ["/x"] },
      RootFS: { Type: "layers", Layers: image.layers.map(({ diffId }) => diffId) },
      Descriptor: image.manifest,
    });
    expect(
      await good([
        "image",
        "inspect",
        "-f",
        '{{.Os}} {{json .Config.Cmd}} {{join .RepoTags ","}}',
        image.config.digest,
      ]),
    ).toBe(`linux ["/x"] ${registry.host}/other/app:2,${name}\n`);
    const half = await flamebox(["inspect", name, "not/here"]);
    expect(half.exitCode).toBe(1);
    expect(JSON.parse(half.out)).toHaveLength(1);
    expect(half.err).toContain("there is neither a container nor an image not/here");
    const lines = (await good(["history", name])).trim().split("\n");
    expect(lines[0]).toMatch(/^IMAGE +CREATED +CREATED BY +SIZE +COMMENT$/);
    expect(lines).toHaveLength(3);
    expect(lines[1]).toContain(image.config.digest.slice(7, 19));
    expect(await good(["history", "-q", "--no-trunc", name])).toBe(`${image.config.digest}\n<missing>\n`);
    expect(await good(["history", "--no-human", "--format", "{{.Size}}", name])).toMatch(/^\d{4,}\n\d+\n$/);
    expect(await good(["image", "rm", `${registry.host}/other/app:2`])).toContain("Untagged: ");
  });

  it("save to a file, a pipe and a directory; load and import from them", async () => {
    const name = `${registry.host}/team/app:1`;
    await good(["pull", name]);
    const file = join(dir, "saved.tar");
    await good(["save", "-q", "-o", file, name]);
    const before = (await stat(file)).ino;
    await good(["image", "save", "-o", file, name]);
    expect((await stat(file)).ino).not.toBe(before);
    const piped = await flamebox(["save", name]);
    expect(piped.bytes.equals(await readFile(file))).toBe(true);
    expect(await good(["load", "-q"], { input: piped.bytes, home: "second" })).toBe(`${name}\n`);
    expect(await good(["load", "-i", file], { home: "second" })).toBe(`Loaded image: ${name}\n`);
    const layout = join(dir, "saved");
    await good(["save", "--format", "oci-dir", "-o", layout, name]);
    expect(await good(["pull", "-q", `oci:${layout}:1`], { home: "third" })).toBe(`${name}\n`);
    const erofs = join(dir, "x.erofs");
    await good(["rootfs", "-o", erofs, `oci-archive:${file}`], { home: "fourth" });
    expect((await stat(erofs)).size).toBeGreaterThan(9000);
    // A run or a rootfs of a file takes no names over.
    expect(await good(["images", "--format", "{{.Repository}}"], { home: "fourth" })).toBe("<none>\n");
    const rootfs = archive(entry({ name: "bin/sh" }, "x"));
    const id = (
      await good(["import", "-c", "USER 7", "-m", "mine", "-", "my/root:1"], { input: rootfs })
    ).trim();
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await good(["inspect", "--format", "{{.Config.User}} {{.Comment}}", id])).toBe("7 mine\n");
  });

  it("login, pull, push and logout with TLS and a password", async () => {
    const name = `${guarded.host}/team/app:1`;
    const refused = await flamebox(["pull", name]);
    expect(refused.err).toContain(`flamebox login ${guarded.host}`);
    const wrong = await flamebox(["login", "-u", "ali", "--password-stdin", guarded.host], { input: "no\n" });
    expect([wrong.exitCode, wrong.err]).toEqual([
      1,
      expect.stringContaining("refuses this user name and password"),
    ]);
    const login = ["login", "--username", guarded.username, "--password-stdin", guarded.host];
    expect(await good(login, { input: `${guarded.password}\n` })).toBe("Login Succeeded\n");
    expect((await stat(join(dir, "docker", "config.json"))).mode & 0o777).toBe(0o600);
    await good(["pull", name]);
    await good(["tag", name, `${guarded.host}/pushed/app:1`]);
    expect(await good(["push", `${guarded.host}/pushed/app:1`])).toContain(image.manifest.digest);
    expect(await good(["logout", guarded.host])).toBe(`Removed login credentials for ${guarded.host}\n`);
    expect(await good(["logout", guarded.host])).toBe(`Not logged in to ${guarded.host}\n`);
    expect((await flamebox(["push", `${guarded.host}/pushed/app:1`])).exitCode).toBe(1);
    const typed = await flamebox(["login", "-u", "a", "-p", "b", "--password-stdin", guarded.host]);
    expect(typed.err).toContain("exclude each other");
    expect((await flamebox(["login", guarded.host])).err).toContain("--password-stdin");
  });

  it("a password without TLS: login, pull, tag, push, logout", async () => {
    const { host, username, password } = plainAuth;
    const name = `${host}/team/app:1`;
    const home = "plain-auth";
    expect((await flamebox(["pull", name], { home })).err).toContain(`flamebox login ${host}`);
    await good(["login", "-q", "-u", username, "--password-stdin", host], { input: `${password}\n` });
    await good(["pull", "-q", name], { home });
    await good(["tag", name, `${host}/pushed/app:1`], { home });
    expect(await good(["push", `${host}/pushed/app:1`], { home })).toContain(image.manifest.digest);
    await good(["logout", host]);
    expect((await flamebox(["pull", name], { home: "none" })).exitCode).toBe(1);
  });

  it("TLS without a password: refused, --insecure, and trusted by SSL_CERT_FILE", async () => {
    const name = `${open.host}/team/app:1`;
    const home = "open";
    const refused = await flamebox(["pull", name], { home });
    expect([refused.exitCode, refused.err]).toEqual([1, expect.stringContaining("self-signed")]);
    await good(["pull", "-q", "--insecure", name], { home });
    const bundle = join(dir, "bundle.pem");
    await writeFile(bundle, open.ca ?? "");
    const env = { SSL_CERT_FILE: bundle };
    await good(["pull", "-q", name], { home: "open-trusting", env });
    await good(["tag", name, `${open.host}/pushed/app:1`], { home });
    expect(await good(["push", `${open.host}/pushed/app:1`], { home, env })).toContain(image.manifest.digest);
  });

  it("save --all-platforms has every platform of the index, as it is in the registry", async () => {
    const layers = [archive(entry({ name: "one" }, "1"))];
    const platforms = ["amd64", "arm64", "s390x"].map((architecture) => ({ os: "linux", architecture }));
    const images = platforms.map((platform) => ({ platform, layers }));
    await writeLayout(join(dir, "many"), "1", images);
    await registry.push(join(dir, "many"), "1", "team/many:1", ["--all"]);
    const name = `${registry.host}/team/many:1`;
    const layout = join(dir, "all");
    await good(["save", "-q", "--all-platforms", "--format", "oci-dir", "-o", layout, name]);
    const { stdout } = await run("skopeo", ["inspect", "--raw", `oci:${layout}`]);
    const raw = await run("skopeo", ["inspect", "--raw", "--tls-verify=false", `docker://${name}`]);
    expect(stdout).toBe(raw.stdout);
    const { manifests } = JSON.parse(stdout) as { manifests: { platform: object }[] };
    expect(manifests.map(({ platform }) => platform)).toEqual(platforms);
    for (const { architecture } of platforms) {
      const words = ["pull", "-q", "--platform", `linux/${architecture}`, `oci:${layout}`];
      await good(words, { home: `all-${architecture}` });
    }
    const file = join(dir, "all.tar");
    await good(["save", "-q", "--all-platforms", "--format", "oci-archive", "-o", file, name]);
    const archived = await run("skopeo", ["inspect", "--raw", `oci-archive:${file}`]);
    expect(archived.stdout).toBe(stdout);
    const one = await flamebox(["save", "--all-platforms", "-o", join(dir, "one.tar"), name]);
    expect([one.exitCode, one.err]).toEqual([1, expect.stringContaining("docker-archive has one platform")]);
  });

  it("logout forgets what podman knows, and tells what is left; a part of a registry is refused", async () => {
    const { host, username, password } = guarded;
    const podmans = join(dir, "config", "containers", "auth.json");
    const auth = Buffer.from(`${username}:${password}`).toString("base64");
    await writeFile(podmans, JSON.stringify({ auths: { [host]: { auth }, [`${host}/team`]: { auth } } }));
    await good(["login", "-q", "-u", username, "--password-stdin", host], { input: `${password}\n` });
    const first = await flamebox(["logout", host]);
    expect(first.out).toBe(`Removed login credentials for ${host}\n`);
    expect(first.err).toContain(`credentials for ${host} are still in ${podmans}`);
    await good(["pull", "-q", `${host}/team/app:1`], { home: "podmans" });
    const report = JSON.parse(await good(["logout", "--json", host])) as object;
    const remaining = [{ name: `${host}/team`, path: podmans }];
    expect(report).toEqual({ registry: host, path: podmans, wasThere: true, remaining });
    expect(await good(["logout", host])).toBe(`Not logged in to ${host}\n`);
    for (const words of [["login", "-u", "a", "--password-stdin"], ["logout"]]) {
      const refused = await flamebox([...words, `${host}/team`], { input: "x\n" });
      expect([refused.exitCode, refused.err]).toEqual([1, expect.stringContaining("part of a registry")]);
      expect(refused.err).toContain(`write ${host};`);
    }
    expect(JSON.parse(await readFile(podmans, "utf8"))).toEqual({ auths: { [`${host}/team`]: { auth } } });
    await rm(podmans);
    expect((await flamebox(["pull", `${host}/team/app:1`], { home: "none" })).exitCode).toBe(1);
  });

  it("system df, check and prune; what is asked before anything is removed", async () => {
    const home = "pruned";
    await good(["pull", `${registry.host}/team/app:1`], { home });
    await good(["rootfs", "-q", "-o", join(dir, "y.erofs"), `oci:${join(dir, "layout")}`], { home });
    const rows = JSON.parse(await good(["system", "df", "--json"], { home })) as { type: string }[];
    expect(rows).toMatchObject([
      { type: "Images", totalCount: 1, active: 0 },
      { type: "Containers", totalCount: 0, active: 0 },
      { type: "Templates", totalCount: 0 },
    ]);
    expect(await good(["system", "df"], { home })).toMatch(
      /^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE\nImages +1 +0 .*\(100%\)\n/,
    );
    expect(await good(["system", "check"], { home })).toBe("Everything is sound.\n");
    const unasked = await flamebox(["image", "prune"], { home });
    expect([unasked.exitCode, unasked.err]).toEqual([1, expect.stringContaining("--force")]);
    const no = await flamebox(["image", "prune", "-a"], { home, answer: "n" });
    expect([no.exitCode, no.err]).toEqual([1, expect.stringContaining("nothing was removed")]);
    expect(await good(["images", "-q"], { home })).not.toBe("");
    const yes = await good(["image", "prune", "-a"], { home, answer: "y" });
    expect(yes).toContain(`Untagged: ${registry.host}/team/app:1`);
    expect(yes).toMatch(/Total reclaimed space: \d/);
    expect(await good(["images", "-q"], { home })).toBe("");
    expect(await good(["system", "prune", "-f"], { home })).toBe("Total reclaimed space: 0B\n");
  });

  it("a damaged layer fails the check, is repaired away, and is fetched again", async () => {
    const home = "damaged";
    const name = `${registry.host}/team/app:1`;
    await good(["pull", name], { home });
    const hex = image.layers[1]?.diffId.slice(7) ?? "";
    const blob = join(dir, home, "data", "layers", `${hex}.blob`);
    const bytes = await readFile(blob);
    bytes[5] = 1;
    await writeFile(blob, bytes);
    const found = await flamebox(["system", "check"], { home });
    expect([found.exitCode, found.out]).toEqual([
      1,
      `damaged: ${blob}: layer blob has a wrong checksum in the MiB at byte 0\n`,
    ]);
    expect((await flamebox(["system", "check", "--repair"], { home })).out).toContain("damaged, removed: ");
    expect((await flamebox(["system", "check"], { home })).out).toContain("missing: ");
    await good(["pull", name], { home });
    expect(await good(["system", "check"], { home })).toBe("Everything is sound.\n");
  });

  it.each<[string, string[], string]>([
    ["save to a terminal", ["save", "x"], "not written to a terminal"],
    ["save of what is not here", ["save", "-o", "/dev/null", "not/here"], "no such image here"],
    ["a directory without a path", ["save", "--format", "oci-dir", "x"], "needs --output"],
    ["tag with a digest", ["tag", "x", `y@sha256:${"0".repeat(64)}`], "digest cannot be given"],
    ["push of what is not here", ["push", "localhost:1/x"], "no such image here"],
    ["a filter that is none", ["images", "-f", "x=1"], "there is no such filter"],
    ["a pattern that is none", ["images", "app[a-"], "it is no pattern"],
    ["import with RUN", ["import", "-c", "RUN x", "/dev/null", "x"], "no instruction with a value"],
    ["load of no archive", ["load", "-i", "/etc/hostname"], "no archive that can be read"],
    ["pull of no path", ["pull", "oci:"], "the path is missing"],
    ["pull of no directory", ["pull", "oci:/nowhere"], "no directory"],
  ])("%s", async (_, words, message) => {
    const context = fakeContext({ env: { FLAMEBOX_HOME: join(dir, "wrong"), HOME: dir } });
    const terminal = { ...context, stdout: new FakeOutput(true), loadLibrary: async () => library };
    const exitCode = await execute(words, terminal);
    expect([exitCode, context.stderr.text]).toEqual([1, expect.stringContaining(message)]);
  });
});
