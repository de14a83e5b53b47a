/** Who gets to see a secret: token servers, redirects, realms. `CANARY` must never be seen anywhere else. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { passwordCredentials, Secret } from "../../src/auth/credentials.ts";
import type { Credentials } from "../../src/auth/credentials.ts";
import { fixedKeychain } from "../../src/auth/keychain.ts";
import { digestOf } from "../../src/reference/digest.ts";
import { parse } from "../../src/reference/reference.ts";
import { parseTokenAnswer } from "../../src/source/registry/authorization.ts";
import { registrySource } from "../../src/source/registry/registry.ts";
import { startServer } from "../support/loopback-server.ts";
import type { Handler, LoopbackServer } from "../support/loopback-server.ts";
import { makeImage } from "../support/oci-layout.ts";
import { makeCertificate } from "../support/registry.ts";

const CANARY = "canary-5ecret";
const platform = { os: "linux", architecture: "amd64" };
const image = makeImage({ platform, layers: [Buffer.from("layer")] });
const layer = image.layers[0] as (typeof image.layers)[0];
const basic = `Basic ${Buffer.from(`ali:${CANARY}`).toString("base64")}`;

/** The image, whoever asks. */
const serveImage: Handler = (request, response) => {
  const url = request.url ?? "";
  if (url.startsWith("/v2/x/manifests/")) {
    response.setHeader("content-type", image.manifest.mediaType);
    response.end(image.manifestBytes);
  } else if (url === `/v2/x/blobs/${image.config.digest}`) response.end(image.configBytes);
  else if (url === `/v2/x/blobs/${layer.digest}`) response.end(layer.bytes);
  else response.writeHead(url === "/v2/" ? 200 : 404).end();
};

/** The image for those whose Authorization is one of `wanted`, the challenge for others. */
function guarded(challenge: () => string, wanted: () => readonly string[], serve = serveImage): Handler {
  return (request, response) => {
    if (wanted().includes(request.headers.authorization ?? "")) return serve(request, response);
    response.writeHead(401, { "www-authenticate": challenge() }).end();
  };
}

async function pull(registry: LoopbackServer, credentials?: Credentials, more = {}): Promise<void> {
  const keychain = credentials && fixedKeychain(registry.host, credentials);
  await using source = registrySource(parse(`${registry.host}/x:1`), { keychain, attempts: 1, ...more });
  const resolved = await source.resolve({ platform });
  for await (const _ of resolved.openBlob(layer));
}

async function failureOf(promise: Promise<unknown>): Promise<{ code?: string; message: string }> {
  const error: unknown = await promise.then(
    () => new Error("it succeeded"),
    (error: unknown) => error,
  );
  expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(CANARY);
  expect(inspect(error, { depth: 20 })).not.toContain(basic.slice(6));
  return error as Error;
}

function authorizationsOf(server: LoopbackServer): (string | undefined)[] {
  return server.requests.map(({ headers }) => headers.authorization);
}

describe("the token dance", () => {
  interface Row {
    readonly name: string;
    readonly credentials?: Credentials;
    readonly answer: object;
    readonly asked: string;
    readonly authorization: string | undefined;
    /** What is posted. */
    readonly form?: object;
  }
  const query = "service=svc&scope=repository%3Ax%3Apull";
  const table: readonly Row[] = [
    {
      name: "anonymous",
      answer: { token: "t1", expires_in: 300 },
      asked: `GET /token?${query}`,
      authorization: undefined,
    },
    {
      name: "with a password",
      credentials: passwordCredentials("ali", CANARY),
      answer: { access_token: "t1" },
      asked: `GET /token?${query}`,
      authorization: basic,
    },
    {
      name: "with an identity token",
      credentials: { kind: "identity-token", token: new Secret(CANARY) },
      answer: { access_token: "t1", token: null, expires_in: "soon" },
      asked: "POST /token",
      authorization: undefined,
      form: {
        service: "svc",
        scope: "repository:x:pull",
        grant_type: "refresh_token",
        client_id: "flamebox",
        refresh_token: CANARY,
      },
    },
  ];

  test.each(table)("$name", async ({ credentials, answer, asked, authorization, form = {} }) => {
    let body = "";
    await using tokens = await startServer((request, response) => {
      request.on("data", (chunk: Buffer) => (body += chunk.toString()));
      request.on("end", () => response.end(JSON.stringify(answer)));
    });
    // Asks for far more than we need, to see that we do not pass it on.
    const challenge = () =>
      `Bearer realm="${tokens.origin}/token",service="svc",scope="repository:other:pull,push registry:catalog:*"`;
    await using registry = await startServer(guarded(challenge, () => ["Bearer t1"]));
    await pull(registry, credentials);
    expect(tokens.requests.map(({ line }) => line)).toEqual([asked]);
    expect(authorizationsOf(tokens)).toEqual([authorization]);
    expect(Object.fromEntries(new URLSearchParams(body))).toEqual(form);
    // The registry saw the token from then on, and never the password.
    expect(new Set(authorizationsOf(registry))).toEqual(new Set([undefined, "Bearer t1"]));
  });

  test("a refused token is renewed once", async () => {
    let issued = 0;
    await using tokens = await startServer((_, response) => response.end(`{"token":"t${++issued}"}`));
    let accepted = "Bearer t1";
    const serve: Handler = (request, response) => {
      if (request.url?.includes("/manifests/")) accepted = "Bearer t2";
      serveImage(request, response);
    };
    const challenge = () => `Bearer realm="${tokens.origin}/"`;
    await using registry = await startServer(guarded(challenge, () => [accepted], serve));
    await pull(registry);
    expect(issued).toBe(2);
  });

  test("an expired token is renewed before it is used", async () => {
    let issued = 0;
    await using tokens = await startServer((_, response) => {
      response.end(JSON.stringify({ token: `t${++issued}`, expires_in: 1e-6 }));
    });
    const challenge = () => `Bearer realm="${tokens.origin}/"`;
    const wanted = () => Array.from({ length: 10 }, (_, i) => `Bearer t${i + 1}`);
    await using registry = await startServer(guarded(challenge, wanted));
    await pull(registry);
    // Asked whether it speaks HTTP; the manifest was challenged; config and layer came with tokens of their own.
    expect(authorizationsOf(registry)).toEqual([undefined, undefined, "Bearer t1", "Bearer t2", "Bearer t3"]);
  });

  test("a token that is refused for ever is asked for twice, not for ever", async () => {
    await using tokens = await startServer((_, response) => response.end('{"token":"t"}'));
    await using registry = await startServer(
      guarded(
        () => `Bearer realm="${tokens.origin}/"`,
        () => [],
      ),
    );
    expect(await failureOf(pull(registry))).toMatchObject({ code: "unauthorized" });
    expect(tokens.requests).toHaveLength(1);
  });

  test("parallel blobs share one token", async () => {
    await using tokens = await startServer((_, response) => response.end('{"token":"t"}'));
    const challenge = () => `Bearer realm="${tokens.origin}/"`;
    await using registry = await startServer(guarded(challenge, () => ["Bearer t"]));
    await using source = registrySource(parse(`${registry.host}/x:1`));
    const resolved = await source.resolve({ platform });
    const read = async () => {
      for await (const _ of resolved.openBlob(layer));
    };
    await Promise.all(Array.from({ length: 8 }, read));
    expect(tokens.requests).toHaveLength(1);
  });

  test("the token server's refusal names the user and the registry, not the password", async () => {
    await using tokens = await startServer((_, response) => {
      response.writeHead(401).end('{"details":"incorrect username or password"}');
    });
    await using registry = await startServer(
      guarded(
        () => `Bearer realm="${tokens.origin}/"`,
        () => [],
      ),
    );
    const error = await failureOf(pull(registry, passwordCredentials("ali", CANARY)));
    expect(error).toMatchObject({ code: "unauthorized" });
    expect(error.message).toContain('of user "ali"');
    expect(error.message).toContain("incorrect username or password");
  });

  const answers: readonly { name: string; body: string | Buffer }[] = [
    { name: "no JSON", body: `<html>${CANARY}` },
    { name: "no token", body: "{}" },
    { name: "a token that is no string", body: '{"token":7}' },
    { name: "a token with a line break", body: '{"token":"a\\r\\nX-Evil: 1"}' },
    { name: "a token with a space", body: `{"token":"a ${CANARY}"}` },
    { name: "an endless answer", body: Buffer.alloc(1 << 20, 0x20) },
  ];
  test.each(answers)("a token server that answers $name", async ({ body }) => {
    await using tokens = await startServer((_, response) => response.end(body));
    await using registry = await startServer(
      guarded(
        () => `Bearer realm="${tokens.origin}/"`,
        () => [],
      ),
    );
    expect(await failureOf(pull(registry))).toMatchObject({ code: "invalid-response" });
  });

  const lifetimes: readonly (readonly [string, unknown, number])[] = [
    ["the default", undefined, 50_000],
    ["five minutes", 300, 290_000],
    ["ten seconds", 10, 5000],
    ["a year", 31_536_000, 3_590_000],
    ["a negative time", -5, 50_000],
    ["no number", "300", 50_000],
  ];
  test.each(lifetimes)("lifetime: %s", (_, seconds, want) => {
    const bytes = Buffer.from(JSON.stringify({ token: "t", expires_in: seconds }));
    expect(parseTokenAnswer(bytes, "host", 1000)).toEqual({ header: "Bearer t", expiresAtMs: 1000 + want });
  });
});

describe("challenges", () => {
  const refused: readonly { name: string; challenge: string; code: string; says: string }[] = [
    { name: "an unknown scheme", challenge: "Negotiate abc=", code: "unauthorized", says: '"negotiate"' },
    { name: "none", challenge: "", code: "unauthorized", says: "nothing" },
    { name: "no realm", challenge: 'Bearer service="x"', code: "invalid-response", says: "that is no URL" },
    {
      name: "a realm that is a file",
      challenge: 'Bearer realm="file:///etc/passwd"',
      code: "invalid-response",
      says: "https",
    },
  ];
  test.each(refused)("$name", async ({ challenge, code, says }) => {
    await using registry = await startServer(
      guarded(
        () => challenge,
        () => [],
      ),
    );
    const error = await failureOf(pull(registry, passwordCredentials("ali", CANARY)));
    expect(error).toMatchObject({ code, message: expect.stringContaining(says) as string });
  });

  test("basic, chosen where it is the only one with a known name", async () => {
    await using registry = await startServer(
      guarded(
        () => 'Foo a=b, Basic realm="x"',
        () => [basic],
      ),
    );
    await pull(registry, passwordCredentials("ali", CANARY));
    expect(new Set(authorizationsOf(registry))).toEqual(new Set([undefined, basic]));
  });

  test("a realm without https, named by a registry with https, gets nothing", async () => {
    const dir = mkdtempSync(join(tmpdir(), "flamebox-tls-"));
    try {
      const files = await makeCertificate(dir);
      const tls = { key: readFileSync(files.key, "utf8"), cert: readFileSync(files.certificate, "utf8") };
      await using tokens = await startServer((_, response) => response.end('{"token":"t"}'));
      await using registry = await startServer(
        guarded(
          () => `Bearer realm="${tokens.origin}/"`,
          () => [],
        ),
        tls,
      );
      const error = await failureOf(pull(registry, passwordCredentials("ali", CANARY), { ca: tls.cert }));
      expect(error).toMatchObject({ code: "invalid-response" });
      expect(error.message).toContain("not reached by https");
      expect(tokens.requests).toEqual([]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe("redirects", () => {
  test("to another origin lose the credentials, and do not get them back", async () => {
    let registryOrigin = "";
    await using storage = await startServer((request, response) => {
      if (request.url === "/back") response.writeHead(307, { location: `${registryOrigin}/again` }).end();
      else response.end(layer.bytes);
    });
    const serve: Handler = (request, response) => {
      if (request.url === `/v2/x/blobs/${layer.digest}`) {
        response.writeHead(307, { location: `${storage.origin}/back` }).end();
      } else serveImage(request, response);
    };
    const guard = guarded(
      () => "Basic",
      () => [basic],
      serve,
    );
    await using registry = await startServer((request, response) => {
      if (request.url === "/again") response.end(layer.bytes);
      else guard(request, response);
    });
    registryOrigin = registry.origin;
    await pull(registry, passwordCredentials("ali", CANARY));
    expect(authorizationsOf(storage)).toEqual([undefined]);
    expect(registry.requests.at(-1)?.line).toBe("GET /again");
    expect(registry.requests.at(-1)?.headers.authorization).toBeUndefined();
  });

  test("within the origin keep the credentials", async () => {
    const serve: Handler = (request, response) => {
      if (request.url === `/v2/x/blobs/${layer.digest}`)
        response.writeHead(302, { location: "/moved" }).end();
      else if (request.url === "/moved") response.end(layer.bytes);
      else serveImage(request, response);
    };
    await using registry = await startServer(
      guarded(
        () => "Basic",
        () => [basic],
        serve,
      ),
    );
    await pull(registry, passwordCredentials("ali", CANARY));
    expect(registry.requests.at(-1)).toMatchObject({ line: "GET /moved", headers: { authorization: basic } });
  });

  test("a host behind a redirect that asks for credentials gets none", async () => {
    await using storage = await startServer((_, response) => {
      response.writeHead(401, { "www-authenticate": "Basic" }).end();
    });
    const serve: Handler = (request, response) => {
      if (request.url?.includes("/blobs/")) response.writeHead(307, { location: storage.origin }).end();
      else serveImage(request, response);
    };
    await using registry = await startServer(
      guarded(
        () => "Basic",
        () => [basic],
        serve,
      ),
    );
    const error = await failureOf(pull(registry, passwordCredentials("ali", CANARY)));
    expect(error).toMatchObject({ code: "denied" });
    expect(authorizationsOf(storage)).toEqual([undefined]);
  });

  const refused: readonly { name: string; location: string | undefined; says: string }[] = [
    { name: "in a loop", location: "/v2/x/manifests/1", says: "more than 10 times" },
    { name: "to a file", location: "file:///etc/passwd", says: "to file:" },
    { name: "to a data URL", location: "data:text/plain,x", says: "to data:" },
    { name: "to no URL", location: "http://[", says: "no URL" },
    { name: "without a location", location: undefined, says: "without saying where to" },
  ];
  test.each(refused)("$name", async ({ location, says }) => {
    await using registry = await startServer((request, response) => {
      if (request.url === "/v2/") response.end();
      else response.writeHead(302, location === undefined ? {} : { location }).end();
    });
    const error = await failureOf(pull(registry));
    expect(error).toMatchObject({
      code: "unsafe-redirect",
      message: expect.stringContaining(says) as string,
    });
  });
});

describe("the manifest", () => {
  const refused: readonly {
    name: string;
    reference: string;
    handler: Handler;
    code: string;
    says: string;
  }[] = [
    {
      name: "with another digest than was asked for",
      reference: `x@sha256:${"0".repeat(64)}`,
      handler: serveImage,
      code: "digest-mismatch",
      says: `got ${image.manifest.digest}, want sha256:000`,
    },
    {
      name: "with a Content-Type that its own mediaType denies",
      reference: "x:1",
      handler: (_, response) => {
        response.setHeader("content-type", "application/vnd.oci.image.index.v1+json");
        response.end(image.manifestBytes);
      },
      code: "invalid-manifest",
      says: "was delivered as",
    },
    {
      name: "of more than 4 MiB",
      reference: "x:1",
      handler: (_, response) => response.end(Buffer.alloc(5 << 20, 0x20)),
      code: "invalid-response",
      says: "larger than 4194304 bytes",
    },
    {
      name: "compressed",
      reference: "x:1",
      handler: (_, response) => response.writeHead(200, { "content-encoding": "br" }).end("x"),
      code: "invalid-response",
      says: 'Content-Encoding "br"',
    },
    {
      name: "that is a page for people",
      reference: "x:1",
      handler: (_, response) => response.end("<html>log in first</html>"),
      code: "invalid-manifest",
      says: "not JSON",
    },
    {
      name: "of schema 1",
      reference: "x:1",
      handler: (_, response) => response.end('{"schemaVersion":1,"name":"x","fsLayers":[]}'),
      code: "unsupported-media-type",
      says: "schema 1",
    },
    {
      name: "whose config is another one",
      reference: "x:1",
      handler: (request, response) => {
        if (request.url?.includes("/blobs/")) response.end(Buffer.alloc(image.config.size));
        else response.end(image.manifestBytes);
      },
      code: "digest-mismatch",
      says: `want ${image.config.digest}`,
    },
    {
      name: "behind a limit",
      reference: "x:1",
      handler: (request, response) => response.writeHead(request.url === "/v2/" ? 200 : 429).end(),
      code: "too-many-requests",
      says: "limits how often",
    },
  ];
  test.each(refused)("$name", async ({ reference, handler, code, says }) => {
    await using registry = await startServer(handler);
    await using source = registrySource(parse(`${registry.host}/${reference}`), { attempts: 1 });
    const error = await failureOf(source.resolve({ platform }));
    expect(error).toMatchObject({ code, message: expect.stringContaining(says) as string });
  });

  test("an index that promises another size, and one that leads to an index", async () => {
    const index = (entry: object) =>
      Buffer.from(
        JSON.stringify({ schemaVersion: 2, manifests: [{ ...image.manifest, platform, ...entry }] }),
      );
    const inner = index({});
    const cases = [
      { body: index({ size: 7 }), code: "size-mismatch" },
      { body: index({ digest: digestOf(inner), size: inner.length }), code: "invalid-manifest" },
    ];
    for (const { body, code } of cases) {
      await using registry = await startServer((request, response) => {
        if (request.url?.endsWith("/manifests/1")) response.end(body);
        else if (request.url?.endsWith(digestOf(inner))) response.end(inner);
        else serveImage(request, response);
      });
      expect(await failureOf(pull(registry))).toMatchObject({ code });
    }
  });

  test("nobody listens", async () => {
    const server = await startServer(serveImage);
    await server[Symbol.asyncDispose]();
    const error = await failureOf(pull(server));
    expect(error).toMatchObject({ code: "registry-unreachable" });
    expect(error.message).toContain(`${server.host} cannot be reached: connection refused`);
  });
});

const outside = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

describe.skipIf(outside === undefined)("a registry that is not on loopback (skips without a network)", () => {
  const startOutside = (handler: Handler) => startServer(handler, undefined, outside);

  test("is never asked over http", async () => {
    await using registry = await startOutside(serveImage);
    const error = await failureOf(pull(registry, passwordCredentials("ali", CANARY)));
    expect(error).toMatchObject({ code: "tls-error", message: expect.stringContaining("TLS") as string });
    expect(registry.requests).toEqual([]);
  });

  test("is asked over http when the user calls it insecure", async () => {
    await using registry = await startOutside(serveImage);
    await pull(registry, undefined, { insecure: true });
    expect(registry.requests.map(({ line }) => line)).toContain(`GET /v2/x/blobs/${layer.digest}`);
  });

  test.each(["127.0.0.1:1", "localhost:1", "[::1]:1", "169.254.169.254", "0.0.0.0:1"])(
    "cannot redirect us to %s",
    async (host) => {
      await using registry = await startOutside((_, response) => {
        response.writeHead(307, { location: `http://${host}/latest/meta-data` }).end();
      });
      const error = await failureOf(pull(registry, undefined, { insecure: true }));
      expect(error).toMatchObject({
        code: "unsafe-redirect",
        message: expect.stringContaining("an address that only this machine can mean") as string,
      });
    },
  );

  test("cannot name a token server on loopback", async () => {
    await using tokens = await startServer((_, response) => response.end('{"token":"t"}'));
    const challenge = () => `Bearer realm="${tokens.origin}/"`;
    await using registry = await startOutside(guarded(challenge, () => []));
    const credentials = passwordCredentials("ali", CANARY);
    const error = await failureOf(pull(registry, credentials, { insecure: true }));
    expect(error).toMatchObject({ code: "invalid-response" });
    expect(tokens.requests).toEqual([]);
  });
});
