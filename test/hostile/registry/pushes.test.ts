/** Logins and pushes: what a registry answers to each step, the password said back, and where it leads. */
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { passwordCredentials, Secret } from "../../../src/auth/credentials.ts";
import type { Credentials } from "../../../src/auth/credentials.ts";
import { digestOf } from "../../../src/reference/digest.ts";
import { parse } from "../../../src/reference/reference.ts";
import { checkLogin } from "../../../src/source/registry/login.ts";
import { registryTarget } from "../../../src/source/registry/push.ts";
import type { RegistrySourceOptions } from "../../../src/source/registry/registry.ts";
import type { Handler } from "../../support/loopback-server.ts";
import { basic, CANARY, credentials, heardCanary, holdsCanary, image, startAt, world } from "./world.ts";

/** What is asked, in this order; `login` alone, the others in one push. */
const STEPS = ["login", "has", "mount", "begin", "chunk", "end", "manifest"] as const;
type Step = (typeof STEPS)[number];
const CHUNK_BYTES = 1000;
const bytes = Buffer.alloc(2 * CHUNK_BYTES + 1, "push");
const digest = digestOf(bytes);
/** Of what is said to the registry: no part of it may be shown either. */
const START = basic.slice(6, 16);

function stepOf(method: string | undefined, url: string): Step {
  if (url.startsWith("/v2/x/manifests/")) return "manifest";
  if (method === "HEAD") return "has";
  if (method === "POST") return url.includes("mount=") ? "mount" : "begin";
  if (method === "PATCH") return "chunk";
  return method === "PUT" ? "end" : "login";
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}
/** `heard`: the Authorization header, or the form of a request for a token. */
type Answering = (heard: string, elsewhere: string) => Answer;

interface Row {
  readonly name: string;
  readonly step: Step;
  readonly answer: Answering;
  /** `done`, or the error's code. */
  readonly outcome: string;
  /** The other place, which the answer leads to. */
  readonly elsewhere?: Answering;
  readonly isAsked?: boolean;
  readonly attempts?: number;
  readonly maxMs?: number;
}

const STATUS: Readonly<Record<Step, number>> = {
  login: 200,
  has: 404,
  mount: 202,
  begin: 202,
  chunk: 202,
  end: 201,
  manifest: 201,
};

/** Takes a push from who knows the password, but for one step. */
function registryOf(bad: Step, answer: Answering, elsewhere: () => string): Handler {
  return (request, response) => {
    const heard = request.headers.authorization ?? "";
    request.resume().on("end", () => {
      const end = ({ status, headers = {}, body = "" }: Answer) =>
        response.writeHead(status, headers).end(body);
      if (heard !== basic) return end({ status: 401, headers: { "www-authenticate": 'Basic realm="r"' } });
      const step = stepOf(request.method, request.url ?? "");
      if (step === bad) return end(answer(heard, elsewhere()));
      return end({ status: STATUS[step], headers: { location: "/upload?state=1" } });
    });
  };
}

interface Outcome {
  readonly outcome: string;
  readonly message: string;
  readonly leaked: boolean;
}

async function attempt(
  isLogin: boolean,
  registry: string,
  options: RegistrySourceOptions,
  known: Credentials = credentials,
): Promise<Outcome> {
  const keychain = { credentialsFor: async () => known };
  const access = { keychain, attempts: 1, addressing: world(), insecure: true, ...options };
  const open = async function* () {
    yield bytes;
  };
  try {
    if (isLogin) await checkLogin(registry, access);
    else {
      await using target = registryTarget(parse(`${registry}/x:1`), { ...access, mountFrom: ["y"] });
      await target.has(digest);
      await target.mount(digest, "y");
      await target.upload({ open, digest }, { chunkBytes: CHUNK_BYTES });
      await target.putManifest("1", { bytes: image.manifestBytes, descriptor: image.manifest });
    }
    return { outcome: "done", message: "", leaked: false };
  } catch (error) {
    const shown = inspect(error, { depth: 20, showHidden: true, maxStringLength: null });
    const { code, message } = error as { readonly code?: unknown; readonly message: string };
    const holds = (text: string) => holdsCanary(text) || text.includes(START);
    return { outcome: String(code), message, leaked: holds(shown) || holds(message) };
  }
}

const spoken = STEPS.filter((step) => step !== "has");
/** Refusals of a mount only mean that the blob is sent. */
const unlessMount = (step: Step, outcome: string) => (step === "mount" ? "done" : outcome);
const errors = (message: string) => JSON.stringify({ errors: [{ code: "DENIED", message }] });

const echoes: Row[] = spoken.flatMap((step) => {
  const row = (name: string, outcome: string, answer: Answering): Row => ({ name, step, outcome, answer });
  const notFound =
    { login: "registry-error", manifest: "repository-not-found" }[step as string] ?? "upload-lost";
  return [
    row("a 400 in JSON", unlessMount(step, "registry-error"), (heard) => ({
      status: 400,
      body: errors(`not with ${heard}`),
    })),
    row("a 403", unlessMount(step, "denied"), (heard) => ({ status: 403, body: `no: ${heard}` })),
    row("a 401", unlessMount(step, "unauthorized"), (heard) => ({
      status: 401,
      headers: { "www-authenticate": 'Basic realm="r"' },
      body: errors(`who is ${heard}?`),
    })),
    row("a 404", unlessMount(step, notFound), (heard) => ({ status: 404, body: `no ${heard}` })),
    row("a 429", "too-many-requests", (heard) => ({ status: 429, body: `slower, ${heard}` })),
    row("a 503", unlessMount(step, "registry-error"), (heard) => ({ status: 503, body: `later, ${heard}` })),
    row("a 422, decoded", "registry-error", () => ({ status: 422, body: `your password is ${CANARY}` })),
    row("a 422, where the message is cut", "registry-error", (heard) => ({
      status: 422,
      body: `${"x".repeat(200)} ${heard} and more`,
    })),
    row("the location of a redirect", "unsafe-redirect", () => ({
      status: 307,
      headers: { location: `https://[${CANARY}` },
    })),
  ];
});

const told: Row[] = [
  ...(["begin", "chunk"] as const).map(
    (step): Row => ({
      name: "a Location that is no URL",
      step,
      answer: () => ({ status: 202, headers: { location: `https://[${CANARY}` } }),
      outcome: "unsafe-redirect",
    }),
  ),
  ...(["end", "manifest"] as const).map(
    (step): Row => ({
      name: "Docker-Content-Digest",
      step,
      answer: (heard) => ({ status: 201, headers: { "docker-content-digest": heard } }),
      outcome: "digest-mismatch",
    }),
  ),
];

const later: Row[] = STEPS.flatMap((step) =>
  [429, 503].flatMap((status) =>
    ["1000000000", "Fri, 31 Dec 9999 23:59:59 GMT"].map(
      (after): Row => ({
        name: `${status} with Retry-After ${after}`,
        step,
        answer: () => ({ status, headers: { "retry-after": after } }),
        outcome: status === 429 ? "too-many-requests" : unlessMount(step, "registry-error"),
        attempts: 5,
        maxMs: 3000,
      }),
    ),
  ),
);

/** `path` at the other place. */
const to = (path: string, elsewhere: string) => ({ location: `${elsewhere}${path}` });
const asksForPassword: readonly (readonly [string, Answering])[] = [
  ["a password", () => ({ status: 401, headers: { "www-authenticate": 'Basic realm="r"' } })],
  [
    "a token of its own",
    (_, own) => ({ status: 401, headers: { "www-authenticate": `Bearer realm="${own}/token",service="s"` } }),
  ],
];
const led: Row[] = [
  // What is sent is sent to nobody else.
  ...(["mount", "begin", "chunk", "end", "manifest"] as const).flatMap((step) =>
    [301, 302, 303, 307, 308].map(
      (status): Row => ({
        name: `a ${status} to elsewhere`,
        step,
        answer: (_, elsewhere) => ({ status, headers: to("/upload", elsewhere) }),
        outcome: "unsafe-redirect",
      }),
    ),
  ),
  // What is only asked may be asked elsewhere, but nobody there is told who asks.
  ...(["login", "has"] as const).flatMap((step) =>
    asksForPassword.map(
      ([name, elsewhere]): Row => ({
        name: `a redirect to who asks for ${name}`,
        step,
        answer: (_, place) => ({ status: 307, headers: to("/v2/", place) }),
        elsewhere,
        outcome: "denied",
        isAsked: true,
      }),
    ),
  ),
  ...(["begin", "chunk"] as const).flatMap((step) =>
    asksForPassword.map(
      ([name, elsewhere]): Row => ({
        name: `202, on to who asks for ${name}`,
        step,
        answer: (_, place) => ({ status: 202, headers: to("/upload", place) }),
        elsewhere,
        outcome: "denied",
        isAsked: true,
      }),
    ),
  ),
  ...[201, 202].map(
    (status): Row => ({
      name: `${status} with a Location elsewhere, where nothing is sent`,
      step: "mount",
      answer: (_, place) => ({ status, headers: to("/blob", place) }),
      outcome: "done",
    }),
  ),
];

const lies: Row[] = (["end", "manifest"] as const).flatMap((step) =>
  [
    ["of another", digestOf("another"), "digest-mismatch"],
    ["in capitals", digest.toUpperCase(), "digest-mismatch"],
    ["that is a path", "sha256:../../etc/passwd", "digest-mismatch"],
    ["of an unknown kind", "md5:d41d8cd98f00b204e9800998ecf8427e", "digest-mismatch"],
    ["twice", `${digest}, ${digest}`, "digest-mismatch"],
    // It may know what it has by another algorithm.
    ["by SHA-512", digestOf(bytes, "sha512"), "done"],
  ].map(
    ([name = "", said = "", outcome = ""]): Row => ({
      name: `Docker-Content-Digest ${name}`,
      step,
      answer: () => ({ status: 201, headers: { "docker-content-digest": said } }),
      outcome,
    }),
  ),
);

async function check(row: Row): Promise<void> {
  let to = "";
  await using other = await startAt("public", (request, response) => {
    request.resume().on("end", () => {
      const { status, headers, body } = row.elsewhere?.(request.headers.authorization ?? "", to) ?? {
        status: 200,
      };
      response.writeHead(status, headers).end(body);
    });
  });
  to = `http://other.public.test:${other.port}`;
  await using registry = await startAt(
    "public",
    registryOf(row.step, row.answer, () => to),
  );
  const startedMs = performance.now();
  const { attempts = 1, isAsked = false, maxMs = 10_000 } = row;
  const got = await attempt(row.step === "login", `registry.public.test:${registry.port}`, { attempts });
  expect({ outcome: got.outcome, leaked: got.leaked }).toEqual({ outcome: row.outcome, leaked: false });
  expect(got.message).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
  expect(performance.now() - startedMs).toBeLessThan(maxMs);
  expect(heardCanary(other)).toBe(false);
  expect(other.requests.length > 0).toBe(isAsked);
}

const suites = { "the password said back": [...echoes, ...told], later, led, lies };
describe.each(Object.entries(suites))("%s", (_, rows) => {
  test.each(rows)("$step: $name", { timeout: 20_000 }, check);
});

/** To a login and to a push, by a token server, which hears the password in a header or the token in a form. */
const tokenRows = [true, false].flatMap((isLogin) =>
  (["password", "identity-token"] as const).flatMap((kind) => [
    { isLogin, kind, status: 400, outcome: "unauthorized" },
    { isLogin, kind, status: 503, outcome: "registry-error" },
    // What is no token; it is quoted by nobody.
    { isLogin, kind, status: 200, outcome: "invalid-response" },
  ]),
);

test.each(tokenRows)("a token server says a $kind back, with $status, to a login: $isLogin", async (row) => {
  const known: Credentials =
    row.kind === "password" ? credentials : { kind: "identity-token", token: new Secret(CANARY) };
  const challenge = { "www-authenticate": "" };
  await using registry = await startAt("public", (request, response) => {
    let heard = request.headers.authorization ?? "";
    request.on("data", (chunk: Buffer) => (heard += chunk.toString()));
    request.on("end", () => {
      if (request.url?.startsWith("/token") !== true) response.writeHead(401, challenge).end();
      else response.writeHead(row.status).end(heard);
    });
  });
  const name = `registry.public.test:${registry.port}`;
  challenge["www-authenticate"] = `Bearer realm="http://${name}/token"`;
  const got = await attempt(row.isLogin, name, {}, known);
  expect({ outcome: got.outcome, leaked: got.leaked }).toEqual({ outcome: row.outcome, leaked: false });
});

test("these are all of them", () => {
  const rows = Object.values(suites).flat();
  expect(rows.length + tokenRows.length).toBeGreaterThanOrEqual(145);
});

test("a password of any characters is concealed", async () => {
  for (const password of ['quo"te\\back', "half \ud800 a pair", "ümläut€s"]) {
    await using registry = await startAt("public", (request, response) => {
      const heard = (request.headers.authorization ?? "").replace("Basic ", "");
      const said = Buffer.from(heard, "base64").toString().replace("ali:", "");
      const headers = { "www-authenticate": 'Basic realm="r"' };
      if (heard === "") response.writeHead(401, headers).end();
      else response.writeHead(422).end(`your password is ${said}`);
    });
    const known = passwordCredentials("ali", password);
    const got = await attempt(true, `registry.public.test:${registry.port}`, {}, known);
    expect(got.outcome).toBe("registry-error");
    expect(got.message).toMatch(/your password is \[secret\]$/);
  }
});
