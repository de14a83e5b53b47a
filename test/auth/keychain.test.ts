import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { passwordCredentials, Secret } from "../../src/auth/credentials.ts";
import type { Credentials } from "../../src/auth/credentials.ts";
import { loadDockerConfig, parseDockerConfig, registryKey } from "../../src/auth/docker-config.ts";
import { dockerConfigKeychain, firstOf, fixedKeychain } from "../../src/auth/keychain.ts";

const CANARY = "canary-5ecret";
const encode = (text: string) => Buffer.from(text).toString("base64");
const auth = encode(`ali:${CANARY}`);

/** Credentials as plain text, for comparison only. */
function plain(credentials: Credentials | undefined): string | undefined {
  if (!credentials) return undefined;
  if (credentials.kind === "password") return `${credentials.username}:${credentials.password.reveal()}`;
  return `${credentials.kind} ${credentials.token.reveal()}`;
}

/** What the job throws, which never shows a secret. */
async function failureOf(job: () => unknown): Promise<Error & { code?: string }> {
  const error: unknown = await Promise.resolve()
    .then(job)
    .then(
      () => new Error("it succeeded"),
      (error: unknown) => error,
    );
  expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(CANARY);
  expect(inspect(error, { depth: 20 })).not.toContain(auth);
  return error as Error;
}

test("a secret shows itself only when asked", () => {
  const credentials = passwordCredentials("ali", CANARY);
  const shown = [
    inspect(credentials, { showHidden: true }),
    JSON.stringify(credentials),
    String(credentials.password),
  ];
  for (const text of shown) expect(text).toMatch(/\[secret\]/);
  expect(shown.join(" ")).not.toContain(CANARY);
  expect(credentials.password.reveal()).toBe(CANARY);
});

test("names in the file and registries", () => {
  const table = [
    ["https://index.docker.io/v1/", "docker.io"],
    ["index.docker.io", "docker.io"],
    ["docker.io", "docker.io"],
    ["registry-1.docker.io", "docker.io"],
    ["https://Ghcr.io", "ghcr.io"],
    ["http://localhost:5000/v2/", "localhost:5000"],
    ["quay.io/team", "quay.io"],
    ["[::1]:5000", "[::1]:5000"],
  ];
  for (const [name = "", want] of table) expect(registryKey(name)).toBe(want);
});

describe("config.json", () => {
  const good: readonly (readonly [
    name: string,
    config: object,
    registry: string,
    want: string | undefined,
  ])[] = [
    ["base64", { auths: { "ghcr.io": { auth } } }, "ghcr.io", `ali:${CANARY}`],
    ["another registry", { auths: { "ghcr.io": { auth } } }, "quay.io", undefined],
    ["a port is part of the name", { auths: { "h.example": { auth } } }, "h.example:5000", undefined],
    ["a host's suffix is not the host", { auths: { "evil-ghcr.io": { auth } } }, "ghcr.io", undefined],
    [
      "Docker Hub's old name",
      { auths: { "https://index.docker.io/v1/": { auth } } },
      "docker.io",
      `ali:${CANARY}`,
    ],
    ["a URL", { auths: { "https://h.example/v2/": { auth } } }, "h.example", `ali:${CANARY}`],
    [
      "the plain name wins",
      {
        auths: {
          "https://h.example": { auth: encode("b:c") },
          "h.example": { auth },
          "http://h.example/": { auth: encode("d:e") },
        },
      },
      "h.example",
      `ali:${CANARY}`,
    ],
    ["colons in the password", { auths: { h: { auth: encode("a:b:c") } } }, "h", "a:b:c"],
    ["an empty password", { auths: { h: { auth: encode("a:") } } }, "h", "a:"],
    ["NULs at the end", { auths: { h: { auth: encode("a:b\0\0") } } }, "h", "a:b"],
    ["name and password apart", { auths: { h: { username: "a", password: "b" } } }, "h", "a:b"],
    ["an identity token wins", { auths: { h: { auth, identitytoken: "t" } } }, "h", "identity-token t"],
    ["a registry token", { auths: { h: { registrytoken: "t" } } }, "h", "registry-token t"],
    ["an empty entry", { auths: { h: {} } }, "h", undefined],
    [
      "nulls",
      { auths: { h: { auth, identitytoken: null } }, credHelpers: null, credsStore: null },
      "h",
      `ali:${CANARY}`,
    ],
    ["nothing", {}, "h", undefined],
    ["other settings", { psFormat: "x", proxies: {}, credsStore: "" }, "h", undefined],
  ];
  test.each(good)("%s", async (_, config, registry, want) => {
    const keychain = dockerConfigKeychain(parseDockerConfig(JSON.stringify(config)));
    expect(plain(await keychain.credentialsFor(registry))).toBe(want);
  });

  const bad: readonly (readonly [name: string, text: string, says: string])[] = [
    ["nothing", "", "not JSON"],
    ["half of it", `{"auths":{"h":{"auth":"${auth}`, "not JSON"],
    ["a list", "[]", "not acceptable"],
    ["auth that is a number", '{"auths":{"h":{"auth":7}}}', 'not acceptable at "auths"'],
    ["a password in a list", `{"auths":{"h":{"password":["${CANARY}"]}}}`, 'not acceptable at "auths"'],
    ["auth without a colon", `{"auths":{"h":{"auth":"${encode(CANARY)}"}}}`, 'entry for "h"'],
    ["auth without a name", `{"auths":{"h":{"auth":"${encode(`:${CANARY}`)}"}}}`, 'entry for "h"'],
    ["auth that is no base64", `{"auths":{"h":{"auth":"ali:${CANARY}"}}}`, 'entry for "h"'],
    ["a helper that is a path", '{"credHelpers":{"h":"../../bin/sh"}}', "credHelpers"],
    ["a store that is an option", '{"credsStore":"-x"}', "credsStore"],
    ["a store with a NUL", '{"credsStore":"a\\u0000"}', "credsStore"],
  ];
  test.each(bad)("%s is refused", async (_, text, says) => {
    const error = await failureOf(() => parseDockerConfig(text));
    expect(error).toMatchObject({
      code: "invalid-docker-config",
      message: expect.stringContaining(says) as string,
    });
  });

  test("__proto__ is no registry of everybody", () => {
    const config = parseDockerConfig(
      `{"__proto__":{"credsStore":"evil"},"auths":{"__proto__":{"auth":"${auth}"}}}`,
    );
    expect(config.store).toBeUndefined();
    expect(({} as Record<string, unknown>)["auth"]).toBeUndefined();
  });
});

describe("with files", () => {
  let dir: string;
  let env: Record<string, string>;

  const helpers: Readonly<Record<string, string>> = {
    good: `read server; [ "$1" = get ] && echo '{"ServerURL":"x","Username":"'"$server"'","Secret":"${CANARY}"}'`,
    token: `echo '{"Username":"<token>","Secret":"${CANARY}"}'`,
    empty: "echo 'credentials not found in native keychain'; exit 1",
    failing: `echo '${CANARY}'; echo '${CANARY}' >&2; exit 3`,
    confused: `echo '${CANARY}'`,
    endless: "exec cat /dev/zero",
    silent: "exec sleep 60",
    leaving: `(sleep 2) & echo '{"Username":"u","Secret":"s"}'`,
  };

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-auth-"));
    const bin = join(dir, "bin");
    await mkdir(bin);
    for (const [name, script] of Object.entries(helpers)) {
      const path = join(bin, `docker-credential-${name}`);
      await writeFile(path, `#!/bin/sh\n${script}\n`);
      await chmod(path, 0o755);
    }
    env = { PATH: `${bin}:/usr/bin:/bin` };
  });

  afterAll(async () => {
    await rm(dir, { recursive: true, force: true });
  });

  test("load reads the file, takes a missing one as empty, and names a broken one", async () => {
    const path = join(dir, "config.json");
    expect((await loadDockerConfig(path)).credentials.size).toBe(0);
    await writeFile(path, JSON.stringify({ auths: { h: { auth } } }));
    expect(plain((await loadDockerConfig(path)).credentials.get("h"))).toBe(`ali:${CANARY}`);
    await writeFile(path, `{"auths":{"h":{"auth":"${auth}"`);
    const broken = await failureOf(() => loadDockerConfig(path));
    expect(broken.message).toContain(path);
    expect(broken).toMatchObject({ code: "invalid-docker-config" });
    expect(await failureOf(() => loadDockerConfig(dir))).toMatchObject({ code: "invalid-docker-config" });
    expect(await failureOf(() => loadDockerConfig("/dev/zero"))).toMatchObject({
      code: "invalid-docker-config",
    });
  });

  const ask = (helper: string, registry = "h.example", more: object = {}, options: object = {}) => {
    const config = parseDockerConfig(JSON.stringify({ credHelpers: { [registry]: helper }, ...more }));
    return dockerConfigKeychain(config, { env, ...options }).credentialsFor(registry);
  };

  test("a helper is asked for the registry's server", async () => {
    expect(plain(await ask("good"))).toBe(`h.example:${CANARY}`);
    expect(plain(await ask("good", "docker.io"))).toBe(`https://index.docker.io/v1/:${CANARY}`);
    expect(plain(await ask("token"))).toBe(`identity-token ${CANARY}`);
  });

  test("the store serves those without a helper, and the file those whom neither knows", async () => {
    const config = parseDockerConfig(
      JSON.stringify({
        credsStore: "good",
        credHelpers: { "a.example": "empty" },
        auths: { "a.example": { auth } },
      }),
    );
    const keychain = dockerConfigKeychain(config, { env });
    expect(plain(await keychain.credentialsFor("b.example"))).toBe(`b.example:${CANARY}`);
    expect(plain(await keychain.credentialsFor("a.example"))).toBe(`ali:${CANARY}`);
    expect(await ask("empty")).toBeUndefined();
  });

  test("a helper that leaves a child behind does not hold us", async () => {
    expect(plain(await ask("leaving"))).toBe("u:s");
  });

  const failing: readonly (readonly [helper: string, says: string])[] = [
    ["failing", "ended with exit code 3"],
    ["confused", "did not print a Username"],
    ["endless", "printed more than 65536 bytes"],
    ["silent", "did not answer within 300 ms"],
    ["missing", "is not installed"],
  ];
  test.each(failing)("the helper %s is an error without the secret", async (helper, says) => {
    const error = await failureOf(() =>
      ask(helper, "h.example", {}, { timeoutMs: helper === "silent" ? 300 : 30_000 }),
    );
    expect(error).toMatchObject({
      code: "credential-helper-failed",
      message: expect.stringContaining(says) as string,
    });
  });

  test("waiting for a helper can be aborted", async () => {
    const keychain = dockerConfigKeychain(parseDockerConfig('{"credsStore":"silent"}'), { env });
    const controller = new AbortController();
    const asking = keychain.credentialsFor("h", { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(asking).rejects.toThrow("enough");
  });
});

test("explicit credentials win, for their registry only", async () => {
  const config = parseDockerConfig(
    JSON.stringify({ auths: { "a.example": { auth }, "b.example": { auth } } }),
  );
  const token: Credentials = { kind: "identity-token", token: new Secret("t") };
  const keychain = firstOf(fixedKeychain("a.example", token), dockerConfigKeychain(config));
  expect(plain(await keychain.credentialsFor("a.example"))).toBe("identity-token t");
  expect(plain(await keychain.credentialsFor("b.example"))).toBe(`ali:${CANARY}`);
  expect(await keychain.credentialsFor("c.example")).toBeUndefined();
});
