/** Pushes: where an upload goes on is the registry's word, which must not lead nearer than the registry, or off TLS. */
import { beforeAll, describe, expect, test } from "vitest";
import { Secret } from "../../../src/auth/credentials.ts";
import type { Credentials } from "../../../src/auth/credentials.ts";
import { parse } from "../../../src/reference/reference.ts";
import { registryTarget } from "../../../src/source/registry/push.ts";
import type { Handler } from "../../support/loopback-server.ts";
import { missingPrograms } from "../../support/programs.ts";
import {
  basic,
  CANARY,
  credentials,
  guarded,
  heardCanary,
  holdsCanary,
  makeTls,
  startAt,
  world,
} from "./world.ts";
import type { Tls } from "./world.ts";

const REACHES = ["public", "private", "link-local", "loopback"] as const;
const CHUNK_BYTES = 1000;
const bytes = Buffer.alloc(2 * CHUNK_BYTES + 1, "upload");

/** The step of an upload whose answer leads elsewhere. */
const STEPS = ["POST", "PATCH"] as const;

/** Takes uploads; the answer to `step` leads to `to`. */
function leading(
  step: (typeof STEPS)[number],
  to: string,
  challenge: () => string = () => 'Basic realm="r"',
): Handler {
  return guarded(challenge, [basic, "Bearer own"], (request, response) => {
    const { method = "" } = request;
    request.resume().on("end", () => {
      const location = method === step ? to : "/upload?state=1";
      const status = { POST: 202, PATCH: 202, PUT: 201 }[method] ?? 200;
      response.writeHead(status, { location }).end();
    });
  });
}

const taking: Handler = (request, response) => {
  request.resume().on("end", () => response.writeHead(request.method === "PUT" ? 201 : 202).end());
};

interface Sent {
  readonly outcome: string;
  readonly leaked: boolean;
}

async function push(
  name: string,
  options: { readonly insecure?: boolean; readonly ca?: string; readonly known?: Credentials },
): Promise<Sent> {
  const { known = credentials, ...rest } = options;
  const keychain = { credentialsFor: async () => known };
  const access = { keychain, attempts: 1, addressing: world(), ...rest };
  await using target = registryTarget(parse(`${name}/x:1`), access);
  const open = async function* () {
    yield bytes;
  };
  try {
    await target.upload({ open }, { chunkBytes: CHUNK_BYTES });
    return { outcome: "pushed", leaked: false };
  } catch (error) {
    return { outcome: String((error as { code?: unknown }).code), leaked: holdsCanary(String(error)) };
  }
}

/** What no public registry may lead to. */
const NEAR = [
  "http://169.254.169.254/latest/meta-data/",
  "http://[fe80::1]/upload",
  "http://10.0.0.1/upload",
  "http://192.168.1.1:8080/upload",
  "http://[fd00::1]/upload",
  "http://0.0.0.0/upload",
  "http://2852039166/upload",
  "http://0x7f.1/upload",
  "http://[::ffff:127.0.0.1]/upload",
  "http://[64:ff9b::a9fe:a9fe]/upload",
  "file:///etc/passwd",
  "ftp://registry.public.test/upload",
  "http://[",
];

const byName = STEPS.flatMap((step) =>
  REACHES.slice(1).flatMap((to) => [
    { step, to, how: "name" as const },
    { step, to, how: "address" as const },
  ]),
);

describe("from a public registry", () => {
  test.each(byName)("the answer to $step leads to a $to $how", async ({ step, to, how }) => {
    await using target = await startAt(to, taking);
    const place = how === "name" ? `http://target.${to}.test:${target.port}` : target.origin;
    await using registry = await startAt("public", leading(step, `${place}/upload`));
    const sent = await push(`registry.public.test:${registry.port}`, { insecure: true });
    expect(sent.outcome).toMatch(/^unsafe-(?:address|redirect)$/);
    expect(sent.leaked).toBe(false);
    expect(target.connections()).toBe(0);
  });

  test.each(STEPS.flatMap((step) => NEAR.map((location) => ({ step, location }))))(
    "the answer to $step leads to $location",
    async ({ step, location }) => {
      await using registry = await startAt("public", leading(step, location));
      const sent = await push(`registry.public.test:${registry.port}`, { insecure: true });
      expect(sent.outcome).toMatch(/^unsafe-(?:address|redirect)$/);
      expect(sent.leaked).toBe(false);
    },
  );

  test.each(STEPS)(
    "the answer to %s may lead to another public place, which is told no password",
    async (step) => {
      await using target = await startAt("public", (request, response) => {
        response.setHeader("location", "/upload?state=2");
        taking(request, response);
      });
      const place = `http://storage.public.test:${target.port}/upload`;
      await using registry = await startAt("public", leading(step, place));
      const sent = await push(`registry.public.test:${registry.port}`, { insecure: true });
      expect(sent).toEqual({ outcome: "pushed", leaked: false });
      expect(target.requests.length).toBeGreaterThan(0);
      expect(heardCanary(target)).toBe(false);
      expect(target.requests.map(({ headers }) => headers.authorization)).not.toContain(basic);
    },
  );
});

/** What the place asks for that an upload goes on at, and as whom it would be answered. */
const asking = STEPS.flatMap((step) =>
  (["storage", "registry"] as const).flatMap((host) =>
    (["Basic", "Bearer", "Bearer, Basic"] as const).flatMap((scheme) =>
      (["password", "identity-token"] as const).map((kind) => ({ step, host, scheme, kind })),
    ),
  ),
);

describe("the place that an upload goes on at answers 401", () => {
  test.each(asking)("behind $step, on $host at another port: $scheme for a $kind", async (row) => {
    const heard: string[] = [];
    let origin = "";
    const challenge = () =>
      row.scheme
        .replace("Bearer", `Bearer realm="${origin}/token",service="s"`)
        .replace("Basic", 'Basic realm="r"');
    await using target = await startAt("public", (request, response) => {
      request.on("data", (chunk: Buffer) => heard.push(chunk.toString()));
      request.on("end", () => {
        if (request.url?.startsWith("/token") === true) response.end('{"token":"t"}');
        else response.writeHead(401, { "www-authenticate": challenge() }).end();
      });
    });
    origin = `http://${row.host}.public.test:${target.port}`;
    let own = "";
    const lead = leading(row.step, `${origin}/upload`, () => own);
    await using registry = await startAt("public", (request, response) => {
      if (request.url?.startsWith("/token") !== true) lead(request, response);
      else request.resume().on("end", () => response.end('{"token":"own"}'));
    });
    const isPassword = row.kind === "password";
    const realm = `http://registry.public.test:${registry.port}/token`;
    own = isPassword ? 'Basic realm="r"' : `Bearer realm="${realm}"`;
    const identity: Credentials = { kind: "identity-token", token: new Secret(CANARY) };
    const known = isPassword ? credentials : identity;
    const sent = await push(`registry.public.test:${registry.port}`, { insecure: true, known });
    expect(sent).toEqual({ outcome: "denied", leaked: false });
    expect(target.requests.map(({ line }) => line.replace(/ .*/, ""))).toEqual(["PATCH"]);
    expect(heardCanary(target) || holdsCanary(heard.join(""))).toBe(false);
    expect(JSON.stringify(target.requests)).not.toMatch(/Bearer (?:own|t)\b/);
  });
});

test("these are all of them", () => {
  const rows = byName.length + NEAR.length * STEPS.length + asking.length;
  expect(rows).toBeGreaterThanOrEqual(62);
});

describe.skipIf(missingPrograms("openssl").length > 0)("from https (needs openssl)", () => {
  let tls: Tls;
  beforeAll(() => {
    tls = makeTls();
  });

  test.each(STEPS)("the answer to %s leads to http on another host", async (step) => {
    await using target = await startAt("public", taking);
    const handler = leading(step, `http://storage.public.test:${target.port}/upload`);
    await using registry = await startAt("public", handler, tls);
    const sent = await push(`registry.public.test:${registry.port}`, { ca: tls.cert });
    expect(sent).toEqual({ outcome: "unsafe-redirect", leaked: false });
    expect(target.connections()).toBe(0);
  });

  test.each(STEPS)("the answer to %s leads to http on another port of its host", async (step) => {
    await using target = await startAt("public", taking);
    const handler = leading(step, `http://registry.public.test:${target.port}/upload`);
    await using registry = await startAt("public", handler, tls);
    const sent = await push(`registry.public.test:${registry.port}`, { ca: tls.cert });
    expect(sent).toEqual({ outcome: "unsafe-redirect", leaked: false });
    expect(target.connections()).toBe(0);
  });

  test.each(STEPS)("the answer to %s names the registry itself with http: https is meant", async (step) => {
    let own = "";
    await using registry = await startAt("public", (...given) => leading(step, own)(...given), tls);
    own = `http://registry.public.test:${registry.port}/upload?x=1`;
    const sent = await push(`registry.public.test:${registry.port}`, { ca: tls.cert });
    expect(sent).toEqual({ outcome: "pushed", leaked: false });
  });
});
