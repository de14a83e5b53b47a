/** What logins leave in config.json, and podman's auth.json. */
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { passwordCredentials } from "../../src/auth/credentials.ts";
import { loadDockerConfig, parseDockerConfig } from "../../src/auth/docker-config.ts";
import { dockerConfigKeychain } from "../../src/auth/keychain.ts";
import { loginsIn, removeLogin, saveLogin } from "../../src/auth/login.ts";
import { FlameBoxError } from "../../src/util/error.ts";

let dir = "";
let serial = 0;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-login-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const ali = passwordCredentials("ali", "open:sesame");
const auth = Buffer.from("ali:open:sesame").toString("base64");

async function newConfig(content?: unknown): Promise<string> {
  const path = join(dir, `${++serial}`, "docker", "config.json");
  if (content === undefined) return path;
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, typeof content === "string" ? content : JSON.stringify(content), { mode: 0o644 });
  return path;
}

const read = async (path: string) => JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;

/** A helper that keeps what it is told in a file: what it was told, one line each. */
async function helper(name: string): Promise<{ env: Record<string, string>; told: () => Promise<string> }> {
  const bin = await mkdtemp(join(dir, "bin-"));
  const path = join(bin, `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\n{ printf '%s ' "$1"; cat; } >> ${bin}/told\n`);
  await chmod(path, 0o755);
  return {
    env: { PATH: `${bin}:${process.env["PATH"] ?? ""}` },
    told: () => readFile(join(bin, "told"), "utf8"),
  };
}

describe("login", () => {
  it("makes the file, for its owner alone", async () => {
    const path = await newConfig();
    expect(await saveLogin(path, "r.example:5000", ali)).toBe("file");
    expect(await read(path)).toEqual({ auths: { "r.example:5000": { auth } } });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(path, ".."))).toEqual(["config.json"]);
  });

  it("keeps everything else, and replaces other spellings of the registry", async () => {
    const before = {
      psFormat: "{{.ID}}",
      auths: { "https://R.example/v1/": { auth: "eDp5" }, "other.example": { auth: "eDp5", email: "a@b" } },
      plugins: { debug: { hooks: "exec" } },
    };
    const path = await newConfig(before);
    await saveLogin(path, "r.example", ali);
    expect(await read(path)).toEqual({
      ...before,
      auths: { "other.example": { auth: "eDp5", email: "a@b" }, "r.example": { auth } },
    });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it("writes Docker Hub as Docker does, and finds it again", async () => {
    const path = await newConfig({});
    await saveLogin(path, "docker.io", ali);
    expect(await read(path)).toEqual({ auths: { "https://index.docker.io/v1/": { auth } } });
    const keychain = dockerConfigKeychain(await loadDockerConfig(path));
    expect(await keychain.credentialsFor("docker.io")).toMatchObject({ kind: "password", username: "ali" });
  });

  it("writes through a symbolic link", async () => {
    const real = await newConfig({ HttpHeaders: {} });
    const link = join(dir, `${++serial}-link.json`);
    await symlink(real, link);
    await saveLogin(link, "r.example", ali);
    expect(await read(real)).toEqual({ HttpHeaders: {}, auths: { "r.example": { auth } } });
  });

  it.each([
    ["credsStore", { credsStore: "box" }],
    ["credHelpers", { credsStore: "other", credHelpers: { "r.example": "box" } }],
  ])("gives the secret to the helper of %s, and keeps none of it", async (_, config) => {
    const { env, told } = await helper("box");
    const path = await newConfig(config);
    expect(await saveLogin(path, "r.example", ali, { env })).toBe("box");
    const entry = '{"ServerURL":"r.example","Username":"ali","Secret":"open:sesame"}';
    expect(await told()).toBe(`store ${entry}\n`);
    expect(await read(path)).toEqual({ ...config, auths: { "r.example": {} } });
    expect(await removeLogin(path, "r.example", { env })).toBe(true);
    expect(await told()).toBe(`store ${entry}\nerase r.example\n`);
    expect(await read(path)).toEqual({ ...config, auths: {} });
  });

  it("a helper that fails changes nothing", async () => {
    const path = await newConfig({ credsStore: "not-there" });
    await expect(saveLogin(path, "r.example", ali)).rejects.toMatchObject({
      code: "credential-helper-failed",
      message: expect.not.stringContaining("sesame"),
    });
    expect(await read(path)).toEqual({ credsStore: "not-there" });
  });

  it.each(["", "a:b", "a\nb"])("refuses the user name %j", async (username) => {
    const path = await newConfig({});
    const credentials = passwordCredentials(username, "x");
    await expect(saveLogin(path, "r.example", credentials)).rejects.toMatchObject({
      code: "invalid-credentials",
    });
  });

  it.each([
    ["no JSON", "{"],
    ["a list of logins", '{"auths":[]}'],
    ["a helper with a path", '{"credsStore":"../../bin/sh"}'],
  ])("does not touch a file that is not understood: %s", async (_, text) => {
    const path = await newConfig(text);
    await expect(saveLogin(path, "r.example", ali)).rejects.toMatchObject({ code: "invalid-docker-config" });
    expect(await readFile(path, "utf8")).toBe(text);
  });
});

describe("logout", () => {
  it("takes all spellings of the registry out, and says whether there were any", async () => {
    const path = await newConfig({
      auths: { "https://r.example": {}, "R.example": {}, "o.example": {} },
      x: 1,
    });
    expect(await removeLogin(path, "r.example")).toBe(true);
    expect(await read(path)).toEqual({ auths: { "o.example": {} }, x: 1 });
    expect(await removeLogin(path, "r.example")).toBe(false);
    expect(await removeLogin(await newConfig(), "r.example")).toBe(false);
  });
});

describe("entries for a part of a registry", () => {
  const entries = {
    "quay.io": { auth },
    "quay.io/team": { auth },
    "https://quay.io/v1": { auth },
    "o.example": {},
  };
  const hasNamespaces = true;

  it("stay when the registry's own is written or forgotten", async () => {
    const path = await newConfig({ auths: entries });
    const names = async () => Object.keys((await read(path))["auths"] as object);
    expect(await loginsIn(path, "quay.io", { hasNamespaces })).toEqual(["quay.io", "quay.io/team"]);
    await saveLogin(path, "quay.io", ali, { hasNamespaces });
    expect(await names()).toEqual(["quay.io/team", "o.example", "quay.io"]);
    expect(await removeLogin(path, "quay.io", { hasNamespaces })).toBe(true);
    expect(await names()).toEqual(["quay.io/team", "o.example"]);
    expect(await loginsIn(path, "quay.io", { hasNamespaces })).toEqual(["quay.io/team"]);
    expect(await removeLogin(path, "quay.io", { hasNamespaces })).toBe(false);
  });

  it("are other spellings of the registry to Docker", async () => {
    const path = await newConfig({ auths: entries });
    expect(await removeLogin(path, "quay.io")).toBe(true);
    expect(await read(path)).toEqual({ auths: { "o.example": {} } });
    expect(await loginsIn(path, "quay.io")).toEqual([]);
  });
});

describe("podman's auth.json", () => {
  const text = JSON.stringify({
    auths: {
      "quay.io": { auth: Buffer.from("all:1").toString("base64") },
      "quay.io/team": { auth: Buffer.from("team:1").toString("base64") },
      "quay.io/team/app": { auth: Buffer.from("app:1").toString("base64") },
      "only.example/ns": { auth: Buffer.from("ns:1").toString("base64") },
    },
  });
  it.each([
    ["quay.io", "team/app", "app"],
    ["quay.io", "team/app/sub", "app"],
    ["quay.io", "team/application", "team"],
    ["quay.io", "teams/x", "all"],
    ["quay.io", undefined, "all"],
    ["only.example", "ns/x", "ns"],
    ["only.example", "other", undefined],
  ])("%s/%s", async (registry, repository, want) => {
    const keychain = dockerConfigKeychain(parseDockerConfig(text, { hasNamespaces: true }));
    const found = await keychain.credentialsFor(registry, { repository });
    expect((found as { username?: string } | undefined)?.username).toBe(want);
  });

  it("in Docker's file a path means nothing", async () => {
    const keychain = dockerConfigKeychain(parseDockerConfig(text));
    expect(await keychain.credentialsFor("only.example", { repository: "other" })).toMatchObject({
      username: "ns",
    });
  });

  it("anything is a file or refused (seeded)", () => {
    const entryOf = fc.record(
      { auth: fc.oneof(fc.base64String(), fc.string(), fc.anything()) },
      { requiredKeys: [] },
    );
    const near = fc.dictionary(fc.oneof(fc.webPath(), fc.domain(), fc.string()), entryOf);
    const given = fc.oneof(
      fc.json(),
      near.map((auths) => JSON.stringify({ auths })),
    );
    const property = fc.property(given, fc.boolean(), (one, hasNamespaces) => {
      let failure: unknown;
      try {
        parseDockerConfig(one, { hasNamespaces });
      } catch (error) {
        failure = error;
      }
      expect(failure === undefined || failure instanceof FlameBoxError, String(failure)).toBe(true);
    });
    fc.assert(property, { seed: 20_260_706, numRuns: 2000 });
  });
});
