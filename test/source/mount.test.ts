/** Blobs from another repository of the registry: a shortcut, which may be refused in many ways. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { passwordCredentials } from "../../src/auth/credentials.ts";
import { digestOf } from "../../src/reference/digest.ts";
import { parse } from "../../src/reference/reference.ts";
import { registryTarget } from "../../src/source/registry/push.ts";
import { startServer } from "../support/loopback-server.ts";

const bytes = Buffer.from("blob");
const digest = digestOf(bytes);
const blob = {
  digest,
  async *open() {
    yield bytes;
  },
};

interface Script {
  /** Of the token server, for as many scopes. */
  readonly tokenStatus?: (scopes: number) => number;
  /** Of the registry, for a mount by who has a token. */
  readonly mount?: { readonly status: number; readonly headers?: Readonly<Record<string, string>> };
}

/** Hands a token out, and takes an upload for it. */
async function scripted({ tokenStatus = () => 200, mount = { status: 202 } }: Script) {
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const { searchParams, pathname } = new URL(request.url ?? "", "http://x");
    const location = "/v2/mine/app/blobs/uploads/1";
    if (pathname === "/v2/") response.end();
    else if (pathname === "/token") {
      response.writeHead(tokenStatus(searchParams.getAll("scope").length)).end('{"token":"t"}');
    } else if (request.headers.authorization !== "Bearer t") {
      const realm = `http://${request.headers.host}/token`;
      response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="s"` }).end();
    } else if (request.method === "HEAD") response.writeHead(404).end();
    else if (!searchParams.has("mount"))
      response.writeHead(request.method === "PUT" ? 201 : 202, { location }).end();
    else {
      const challenge = { "www-authenticate": `Bearer realm="http://${request.headers.host}/token"` };
      response.writeHead(mount.status, { location, ...challenge, ...mount.headers }).end();
    }
  };
  const server = await startServer((request, response) => {
    request.resume().on("end", () => answer(request, response));
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const keychain = { credentialsFor: async () => passwordCredentials("ali", "aliSecret42") };
  const options = { keychain, mountFrom: ["theirs/app"] };
  const target = registryTarget(parse(`${server.host}/mine/app:1`), options);
  onTestFinished(() => target[Symbol.asyncDispose]());
  const lines = () => server.requests.map(({ line }) => line);
  return {
    target,
    mounts: () => lines().filter((line) => line.includes("mount=")).length,
    scopes: () =>
      lines()
        .filter((line) => line.startsWith("GET /token"))
        .map((line) => new URL(line.slice(4), "http://x").searchParams.getAll("scope").length),
  };
}

describe("a mount", () => {
  test("that is granted", async () => {
    const { target } = await scripted({
      mount: { status: 201, headers: { "docker-content-digest": digest } },
    });
    expect(await target.mount(digest, "theirs/app")).toBe(true);
  });

  test("of another blob is none", async () => {
    const other = { "docker-content-digest": digestOf("another") };
    const { target } = await scripted({ mount: { status: 201, headers: other } });
    expect(await target.mount(digest, "theirs/app")).toBe(false);
  });

  test.each([
    [202, 2],
    [400, 2],
    [404, 2],
    [405, 2],
    // Once with the token that there was, once with a fresh one; from then on it is known.
    [401, 2],
    [403, 1],
  ])("answered with %i: the blob is sent", async (status, requests) => {
    const { target, mounts } = await scripted({ mount: { status } });
    await target.has(digest);
    expect(await target.mount(digest, "theirs/app")).toBe(false);
    expect(await target.mount(digestOf("another"), "theirs/app")).toBe(false);
    expect(mounts()).toBe(requests);
    expect(await target.upload(blob)).toEqual({ digest, size: bytes.length });
  });

  test.each([500, 503])("answered with %i, after all tries: the blob is sent", async (status) => {
    const { target, mounts } = await scripted({ mount: { status, headers: { "retry-after": "0" } } });
    expect(await target.mount(digest, "theirs/app")).toBe(false);
    const tries = mounts();
    expect(tries).toBeGreaterThan(1);
    expect(await target.mount(digestOf("another"), "theirs/app")).toBe(false);
    expect(mounts()).toBe(tries);
    expect(await target.upload(blob)).toEqual({ digest, size: bytes.length });
  });

  test("answered with 429 is an error: what follows would be told the same", async () => {
    const { target } = await scripted({ mount: { status: 429, headers: { "retry-after": "1000000000" } } });
    await expect(target.mount(digest, "theirs/app")).rejects.toMatchObject({ code: "too-many-requests" });
  });
});

describe("a token for two repositories", () => {
  test.each([400, 401, 403])("refused with %i: one for our own", async (status) => {
    const tokenStatus = (count: number) => (count > 1 ? status : 200);
    const { target, scopes } = await scripted({ tokenStatus, mount: { status: 401 } });
    await target.has(digest);
    expect(await target.mount(digest, "theirs/app")).toBe(false);
    expect(await target.upload(blob)).toEqual({ digest, size: bytes.length });
    // The last is for the 401 to the mount: what was refused is not asked for again.
    expect(scopes()).toEqual([2, 1, 1]);
  });

  test("refused with any scopes is refused", async () => {
    const { target } = await scripted({ tokenStatus: () => 401 });
    expect(await target.mount(digest, "theirs/app")).toBe(false);
    await expect(target.upload(blob)).rejects.toMatchObject({ code: "unauthorized" });
  });
});
