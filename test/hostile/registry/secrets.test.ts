/** Who hears of the password: the registry, the token server that it names over https, and nobody else. */
import { beforeAll, describe, expect, test } from "vitest";
import { Secret } from "../../../src/auth/credentials.ts";
import type { Credentials } from "../../../src/auth/credentials.ts";
import type { Handler, LoopbackServer } from "../../support/loopback-server.ts";
import {
  basic,
  CANARY,
  credentials,
  guarded,
  heardCanary,
  makeTls,
  pull,
  serveImage,
  startAt,
  world,
} from "./world.ts";
import type { Outcome, PullOptions, Tls } from "./world.ts";

let tls: Tls;
beforeAll(() => {
  tls = makeTls();
});

interface Scene {
  /** https, and the user's own. */
  readonly registry: string;
  /** https of another host, and another port of the registry's host. */
  readonly other: string;
  readonly port: string;
  /** http of both. */
  readonly plain: string;
  readonly otherPlain: string;
}

interface Row {
  readonly name: string;
  /** What the registry does with a request that it would otherwise answer. */
  readonly registry: (scene: Scene) => Handler;
  /** What all others do. */
  readonly others?: (scene: Scene) => Handler;
  readonly outcome: string;
  /** Others that may hear the password: token servers, by design of the protocol. */
  readonly trusted?: "other";
  readonly credentials?: Credentials;
}

const basicChallenge = () => 'Basic realm="registry"';
/** Asks for the password, and sends whoever has it elsewhere. */
const sendingTo =
  (location: (request: string, scene: Scene) => string, status = 307) =>
  (scene: Scene) =>
    guarded(basicChallenge, [basic], (request, response) => {
      if (request.url === "/v2/") return serveImage(request, response);
      response.writeHead(status, { location: location(request.url ?? "", scene) }).end();
      return undefined;
    });
const challengeOf = (make: (scene: Scene) => string) => (scene: Scene) =>
  guarded(() => make(scene), ["Bearer t"]);
/** Answers 401 to everybody, with this challenge. */
const asking =
  (make: (scene: Scene) => string) =>
  (scene: Scene): Handler =>
  (_, response) =>
    void response.writeHead(401, { "www-authenticate": make(scene) }).end();
const tokens: Handler = (request, response) =>
  request.url?.includes("token") ? void response.end('{"token":"t"}') : serveImage(request, response);

const redirects: Row[] = [
  ...[301, 302, 303, 307, 308].map(
    (status): Row => ({
      name: `${status} to another host`,
      registry: sendingTo((url, { other }) => `${other}${url}`, status),
      outcome: "pulled",
    }),
  ),
  {
    name: "to another port of its host",
    registry: sendingTo((url, { port }) => `${port}${url}`),
    outcome: "pulled",
  },
  {
    name: "to http on its host",
    registry: sendingTo((url, { plain }) => `${plain}${url}`),
    outcome: "unsafe-redirect",
  },
  {
    name: "to http on another host",
    registry: sendingTo((url, { otherPlain }) => `${otherPlain}${url}`),
    outcome: "unsafe-redirect",
  },
  {
    name: "to another host with a user in the URL",
    registry: sendingTo((url, { other }) => `${other.replace("//", "//ali:x@")}${url}`),
    outcome: "pulled",
  },
  {
    name: "to its own host in capitals, which is the same",
    registry: (scene) =>
      guarded(basicChallenge, [basic], (request, response) => {
        if (!request.url?.includes("/manifests/1")) return serveImage(request, response);
        const location = `${scene.registry.replace("registry", "REGISTRY")}/v2/x/manifests/other`;
        response.writeHead(307, { location }).end();
        return undefined;
      }),
    outcome: "pulled",
  },
  {
    name: "to a name that begins like its own",
    registry: sendingTo((url, { other }) => `${other.replace("other", "registry.public.test.other")}${url}`),
    outcome: "tls-error",
  },
  {
    name: "to a host below its own",
    registry: sendingTo((url, { other }) => `${other.replace("other", "below.registry")}${url}`),
    outcome: "tls-error",
  },
  {
    name: "over another host back to itself: not given back",
    registry: (scene) => (request, response) => {
      if (request.url?.startsWith("/back"))
        return void response.writeHead(401, { "www-authenticate": basicChallenge() }).end();
      return sendingTo((url, { other }) => `${other}${url}`)(scene)(request, response);
    },
    others:
      ({ registry }) =>
      (_, response) =>
        void response.writeHead(307, { location: `${registry}/back` }).end(),
    outcome: "denied",
  },
  {
    name: "to another host that asks for a password",
    registry: sendingTo((url, { other }) => `${other}${url}`),
    others: () => (_, response) =>
      void response.writeHead(401, { "www-authenticate": 'Basic realm="me"' }).end(),
    outcome: "denied",
  },
  {
    name: "to another host that names a token server",
    registry: sendingTo((url, { other }) => `${other}${url}`),
    others: ({ other }) => asking(() => `Bearer realm="${other}/token"`)({} as Scene),
    outcome: "denied",
  },
  { name: "in a loop", registry: sendingTo((url) => url), outcome: "unsafe-redirect" },
  {
    name: "in a loop of two hosts",
    registry: sendingTo((url, { other }) => `${other}${url}`),
    others:
      ({ registry }) =>
      (request, response) =>
        void response.writeHead(307, { location: `${registry}${request.url}` }).end(),
    outcome: "denied",
  },
  {
    name: "in eleven steps",
    registry: (scene) =>
      guarded(basicChallenge, [basic], (request, response) => {
        const step = Number(/step=(\d+)/.exec(request.url ?? "")?.[1] ?? 0);
        response.writeHead(307, { location: `${scene.registry}/v2/x/manifests/1?step=${step + 1}` }).end();
      }),
    outcome: "unsafe-redirect",
  },
  { name: "to a file", registry: sendingTo(() => "file:///etc/passwd"), outcome: "unsafe-redirect" },
  { name: "to FTP", registry: sendingTo(() => "ftp://other.public.test/x"), outcome: "unsafe-redirect" },
  { name: "to a data URL", registry: sendingTo(() => "data:text/plain,x"), outcome: "unsafe-redirect" },
  { name: "to what is no URL", registry: sendingTo(() => "https://["), outcome: "unsafe-redirect" },
  {
    name: "with the password in the URL",
    registry: sendingTo((_, { other }) => `${other}/${encodeURIComponent(CANARY)}`),
    others: () => (_, response) => void response.writeHead(404).end(),
    outcome: "image-not-found",
    trusted: "other",
  },
];

const realms: Row[] = [
  {
    name: "another host, over https",
    registry: challengeOf(({ other }) => `Bearer realm="${other}/token"`),
    outcome: "pulled",
    trusted: "other",
  },
  {
    name: "its own host over http",
    registry: challengeOf(({ plain }) => `Bearer realm="${plain}/token"`),
    outcome: "invalid-response",
  },
  {
    name: "another host over http",
    registry: challengeOf(({ otherPlain }) => `Bearer realm="${otherPlain}/token"`),
    outcome: "invalid-response",
  },
  {
    name: "a file",
    registry: challengeOf(() => 'Bearer realm="file:///etc/passwd"'),
    outcome: "invalid-response",
  },
  {
    name: "a script",
    registry: challengeOf(() => 'Bearer realm="javascript:alert(1)"'),
    outcome: "invalid-response",
  },
  { name: "nothing", registry: challengeOf(() => 'Bearer realm=""'), outcome: "invalid-response" },
  {
    name: "a relative URL",
    registry: challengeOf(() => 'Bearer realm="/token"'),
    outcome: "invalid-response",
  },
  {
    name: "two realms: the first counts",
    registry: challengeOf(({ plain, other }) => `Bearer realm="${plain}/token",realm="${other}/token"`),
    outcome: "invalid-response",
  },
  {
    name: "a server that redirects to http",
    registry: challengeOf(({ port }) => `Bearer realm="${port}/token"`),
    others:
      ({ otherPlain }) =>
      (request, response) =>
        request.url?.includes("token")
          ? void response.writeHead(307, { location: `${otherPlain}/token` }).end()
          : serveImage(request, response),
    outcome: "unsafe-redirect",
    trusted: "other",
  },
  {
    name: "Basic from a registry that then wants a token over http",
    registry: challengeOf(({ otherPlain }) => `Bearer realm="${otherPlain}/token", Basic realm="x"`),
    outcome: "invalid-response",
  },
  {
    name: "an identity token, and a server that redirects the form",
    registry: challengeOf(({ other }) => `Bearer realm="${other}/token"`),
    others:
      ({ port }) =>
      (_, response) =>
        void response.writeHead(307, { location: `${port}/token` }).end(),
    outcome: "unsafe-redirect",
    credentials: { kind: "identity-token", token: new Secret(CANARY) },
    trusted: "other",
  },
];

const echoes: Row[] = (
  [
    [
      "an error body in JSON",
      400,
      (heard: string) => JSON.stringify({ errors: [{ code: "DENIED", message: `not with ${heard}` }] }),
      {},
      "registry-error",
    ],
    ["an error body in text", 500, (heard: string) => `you said ${heard}`, {}, "registry-error"],
    ["a 403", 403, (heard: string) => `forbidden: ${heard}`, {}, "denied"],
    [
      "a 401",
      401,
      (heard: string) => `who is ${heard}?`,
      { "www-authenticate": basicChallenge() },
      "unauthorized",
    ],
    ["a 404", 404, (heard: string) => `no ${heard}`, {}, "image-not-found"],
    ["a 429", 429, (heard: string) => `slower, ${heard}`, {}, "too-many-requests"],
    ["the decoded password", 400, () => `your password is ${CANARY}`, {}, "registry-error"],
    ["a location that is no URL", 307, () => "", { location: `https://[${CANARY}` }, "unsafe-redirect"],
    [
      "a manifest's media type",
      200,
      (heard: string) => JSON.stringify({ schemaVersion: 2, mediaType: heard }),
      { "content-type": "" },
      "unsupported-media-type",
    ],
    ["what is no JSON", 200, (heard: string) => heard, {}, "invalid-manifest"],
    ["a Content-Encoding", 200, () => "{}", { "content-encoding": basic.slice(6, 40) }, "invalid-response"],
  ] as const
).map(([name, status, body, headers, outcome]) => ({
  name: `the password in ${name}`,
  registry: () =>
    guarded(basicChallenge, [basic], (request, response) => {
      if (request.url === "/v2/") return serveImage(request, response);
      response.writeHead(status, headers).end(body(request.headers.authorization ?? ""));
      return undefined;
    }),
  outcome,
}));

const suites = { redirects, realms, echoes };
test("these are all of them", () => {
  expect(Object.values(suites).flat().length).toBeGreaterThanOrEqual(45);
});

describe.each(Object.entries(suites))("%s", (_, rows) => {
  test.each(rows)("$name", async (row) => {
    const { others = () => tokens, registry, credentials: known = credentials } = row;
    const scene = { registry: "", other: "", port: "", plain: "", otherPlain: "" };
    const serving =
      (make: (scene: Scene) => Handler): Handler =>
      (request, response) =>
        make(scene)(request, response);
    await using own = await startAt("public", serving(registry), tls);
    await using other = await startAt("public", serving(others), tls);
    await using port = await startAt("public", serving(others), tls);
    await using plain = await startAt("public", serving(others));
    const at = (scheme: string, name: string, server: LoopbackServer) =>
      `${scheme}://${name}.public.test:${server.port}`;
    scene.registry = at("https", "registry", own);
    scene.other = at("https", "other", other);
    scene.port = at("https", "registry", port);
    scene.plain = at("http", "registry", plain);
    scene.otherPlain = at("http", "other", plain);
    const got = await pull(`registry.public.test:${own.port}`, {
      ca: tls.cert,
      addressing: world(),
      credentials: known,
    });
    expect({ outcome: got.outcome, leaked: got.leaked }).toEqual({ outcome: row.outcome, leaked: false });
    expect(heardCanary(plain)).toBe(false);
    const mayHear = row.trusted === "other";
    expect([other, port].some((server) => heardCanary(server) && !mayHear)).toBe(false);
  });
});

describe("scopes", () => {
  const wide = "repository:other:push,pull";
  const challenges: readonly (readonly [name: string, challenge: (origin: string) => string])[] = [
    ["asked for in the challenge", (origin) => `Bearer realm="${origin}/token",service="s",scope="${wide}"`],
    [
      "asked for twice",
      (origin) => `Bearer realm="${origin}/token",scope="repository:x:pull ${wide}",scope="${wide}"`,
    ],
    [
      "hidden in the realm's query",
      (origin) => `Bearer realm="${origin}/token?scope=${encodeURIComponent(wide)}",service="s"`,
    ],
    ["hidden behind a fragment", (origin) => `Bearer realm="${origin}/token#?scope=${wide}",service="s"`],
    ["hidden in the service", (origin) => `Bearer realm="${origin}/token",service="s&scope=${wide}"`],
    [
      "an offline token in the realm's query",
      (origin) => `Bearer realm="${origin}/token?offline_token=true&client_id=evil&account=root"`,
    ],
  ];
  test.each(challenges)("%s: only our own is asked for", async (_, challenge) => {
    await using server = await startAt("public", tokens, tls);
    const origin = `https://tokens.public.test:${server.port}`;
    await using registry = await startAt(
      "public",
      guarded(() => challenge(origin), ["Bearer t"]),
      tls,
    );
    const options: PullOptions = { ca: tls.cert, addressing: world(), credentials };
    expect(await pull(`registry.public.test:${registry.port}`, options)).toMatchObject({ outcome: "pulled" });
    const asked = new URL(server.requests[0]?.line.slice(4) ?? "", origin).searchParams;
    expect(asked.getAll("scope")).toEqual(["repository:x:pull"]);
    expect([asked.get("offline_token"), asked.get("account")]).toEqual([null, null]);
  });
});

describe("certificates", () => {
  const rows: readonly (readonly [name: string, host: string, options: PullOptions, outcome: string])[] = [
    ["of nobody known", "registry.public.test", {}, "tls-error"],
    ["for another name", "registry.public.example", {}, "tls-error"],
    [
      "of the registry's, insecure, but not of the host that it redirects to",
      "redirecting",
      { insecure: true },
      "tls-error",
    ],
  ];
  test.each(rows)("%s", async (_, host, options, outcome) => {
    await using other = await startAt("public", serveImage, tls);
    const isRedirecting = host === "redirecting";
    const location = `https://other.public.test:${other.port}/v2/x/manifests/1`;
    const handler = guarded(
      basicChallenge,
      [basic],
      (_, response) => void response.writeHead(307, { location }).end(),
    );
    await using registry = await startAt("public", isRedirecting ? handler : serveImage, tls);
    const names = { "registry.public.example": [["127.0.0.2"]], redirecting: [["127.0.0.2"]] };
    const name = isRedirecting ? "registry.public.test" : host;
    const ca = host.endsWith(".example") ? { ca: tls.cert } : {};
    const got: Outcome = await pull(`${name}:${registry.port}`, {
      ...options,
      ...ca,
      addressing: world(names),
      credentials,
    });
    expect({ outcome: got.outcome, leaked: got.leaked }).toEqual({ outcome, leaked: false });
    expect(other.requests).toEqual([]);
    expect(isRedirecting || registry.requests.length === 0).toBe(true);
  });
});
