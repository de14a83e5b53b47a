/** Servers that want to be left alone for a while, and what is asked of token servers. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { hostPlatform } from "../../src/oci/platform.ts";
import { parse } from "../../src/reference/reference.ts";
import { checkLogin } from "../../src/source/registry/login.ts";
import { registryTarget } from "../../src/source/registry/push.ts";
import { registrySource } from "../../src/source/registry/registry.ts";
import { startServer } from "../support/loopback-server.ts";
import { makeImage } from "../support/oci-layout.ts";
import { archive } from "../support/tar-builder.ts";

const platform = hostPlatform(process.arch);
const image = makeImage({ platform: platform as never, layers: [archive()] });

/** `limits` has a Retry-After for each request that is turned away, at the token server and at the registry. */
async function limited(limits: {
  readonly token?: readonly string[];
  readonly registry?: readonly string[];
}) {
  const left = { token: [...(limits.token ?? [])], registry: [...(limits.registry ?? [])] };
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const isToken = request.url?.startsWith("/token") === true;
    const isPing = request.url === "/v2/";
    const wait = isPing ? undefined : left[isToken ? "token" : "registry"].shift();
    if (wait !== undefined) response.writeHead(429, { "retry-after": wait }).end();
    else if (isToken) response.end('{"token":"t"}');
    else if (request.headers.authorization !== "Bearer t") {
      const realm = `http://${request.headers.host}/token`;
      response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="s"` }).end();
    } else if (request.url?.includes("/manifests/"))
      response.writeHead(200, { "content-type": image.manifest.mediaType }).end(image.manifestBytes);
    else if (request.url?.includes(image.config.digest)) response.end(image.configBytes);
    else response.writeHead(request.method === "POST" ? 202 : 404).end();
  };
  const server = await startServer(answer);
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

const resolveAt = async (host: string) => {
  await using source = registrySource(parse(`${host}/a/b:1`), { maxRetryAfterMs: 5000 });
  return await source.resolve({ platform });
};

test.each([
  ["the token server", { token: ["1"] }],
  ["the registry", { registry: ["1"] }],
])("%s is waited for as long as it asks", async (_, limits) => {
  const { host } = await limited(limits);
  const startMs = performance.now();
  expect((await resolveAt(host)).referenceDigest).toBe(image.manifest.digest);
  expect(performance.now() - startMs).toBeGreaterThan(990);
});

test.each([
  ["the token server", { token: ["1000000000"] }],
  ["the registry", { registry: ["1000000000"] }],
  ["a registry that says it often", { registry: Array.from({ length: 9 }, () => "0") }],
])("%s is left alone when it asks for too much", async (_, limits) => {
  const { host } = await limited(limits);
  await expect(resolveAt(host)).rejects.toMatchObject({ code: "too-many-requests" });
});

test("a push asks for its own repository, and to read those that it mounts from", async () => {
  const { host, requests } = await limited({});
  await using target = registryTarget(parse(`${host}/mine/app:1`), { mountFrom: ["theirs/app", "mine/app"] });
  expect(await target.mount(image.config.digest, "theirs/app")).toBe(false);
  const asked = requests.map(({ line }) => line).find((line) => line.startsWith("GET /token"));
  const { searchParams } = new URL(asked?.slice("GET ".length) ?? "", "http://x");
  expect(searchParams.getAll("scope")).toEqual([
    "repository:mine/app:pull,push",
    "repository:theirs/app:pull",
  ]);
});

/** What has the token server fail, until it no longer does. */
async function failing(answers: readonly (number | "reset")[], retryAfter = "0") {
  const left = [...answers];
  const server = await startServer((request, response) => {
    const isToken = request.url?.startsWith("/token") === true;
    const answer = isToken ? left.shift() : undefined;
    if (answer === "reset") request.socket.destroy();
    else if (answer !== undefined) response.writeHead(answer, { "retry-after": retryAfter }).end();
    else if (isToken) response.end('{"token":"t"}');
    else if (request.headers.authorization === "Bearer t") response.writeHead(404).end();
    else {
      const realm = `http://${request.headers.host}/token`;
      response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}"` }).end();
    }
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const target = (options = {}) => {
    const made = registryTarget(parse(`${server.host}/a/b:1`), { maxRetryAfterMs: 5000, ...options });
    onTestFinished(() => made[Symbol.asyncDispose]());
    return made;
  };
  const asked = () => server.requests.filter(({ line }) => line.startsWith("GET /token")).length;
  return { host: server.host, target, asked };
}

const often = <T>(answer: T): T[] => Array.from({ length: 50 }, () => answer);
const blob = { digest: image.config.digest, open: async function* () {} };

test.each([
  ["429", often(429)],
  ["503", often(503)],
  ["resets", often("reset" as const)],
])("a token server that answers %s is asked five times, and not five times five", async (_, answers) => {
  const { target, asked } = await failing(answers);
  await expect(target().has(image.config.digest)).rejects.toMatchObject({ temporary: false });
  expect(asked()).toBe(5);
});

test("for an upload, for a login and for several at once it is as many", async () => {
  const { host, target, asked } = await failing(often(503));
  await expect(target({ attempts: 2 }).upload(blob)).rejects.toMatchObject({ status: 503 });
  expect(asked()).toBe(2);
  await expect(checkLogin(host, { attempts: 2 })).rejects.toMatchObject({ status: 503 });
  expect(asked()).toBe(4);
  const one = target({ attempts: 2 });
  const several = [1, 2, 3].map(() => one.has(image.config.digest));
  for (const each of await Promise.allSettled(several)) expect(each.status).toBe("rejected");
  expect(asked()).toBe(6);
});

test("a token that nobody waits for any more is not asked for again", async () => {
  const { target, asked } = await failing([503], "1");
  const startMs = performance.now();
  const has = target().has(image.config.digest, AbortSignal.timeout(300));
  await expect(has).rejects.toMatchObject({ name: "TimeoutError" });
  expect(performance.now() - startMs).toBeLessThan(900);
  await sleep(1200);
  expect(asked()).toBe(1);
});

test("it is as long as another waits, and whoever comes later", async () => {
  const { target, asked } = await failing([503], "1");
  const one = target();
  const impatient = one.has(image.config.digest, AbortSignal.timeout(300));
  const patient = one.has(image.config.digest);
  await expect(impatient).rejects.toMatchObject({ name: "TimeoutError" });
  expect(await patient).toBe(false);
  expect(asked()).toBe(2);
  const other = await failing([503], "1");
  const again = other.target();
  const gone = again.has(image.config.digest, AbortSignal.timeout(300));
  await expect(gone).rejects.toMatchObject({ name: "TimeoutError" });
  expect(await again.has(image.config.digest)).toBe(false);
  expect(other.asked()).toBe(2);
});
