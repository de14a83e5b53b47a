/** The way to a registry: certificates that are wrong, certificates that are wanted, and proxies. */
import { mkdtemp, rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { ServerOptions } from "node:https";
import { once } from "node:events";
import { connect, createServer as createNetServer } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { hostPlatform } from "../../src/oci/platform.ts";
import { parse } from "../../src/reference/reference.ts";
import { certificateProblem } from "../../src/source/registry/certificate-problem.ts";
import { registrySource } from "../../src/source/registry/registry.ts";
import type { RegistrySourceOptions } from "../../src/source/registry/registry.ts";
import { makeAuthority } from "../support/authority.ts";
import type { Authority } from "../support/authority.ts";
import { makeImage } from "../support/oci-layout.ts";
import { missingPrograms } from "../support/programs.ts";
import { archive } from "../support/tar-builder.ts";

const platform = hostPlatform(process.arch);
const image = makeImage({ platform: platform as never, layers: [archive()] });
const blobs = new Map<string, Buffer>([
  [image.config.digest, image.configBytes],
  ...image.layers.map(({ digest, bytes }) => [digest, bytes] as const),
]);

/** As much of a registry as one image needs. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  const name = request.url?.split("/").at(-1) ?? "";
  if (request.url === "/v2/") response.end("{}");
  else if (request.url?.includes("/manifests/"))
    response.writeHead(200, { "content-type": image.manifest.mediaType }).end(image.manifestBytes);
  else if (blobs.has(name)) response.end(blobs.get(name));
  else response.writeHead(404).end();
}

describe.skipIf(missingPrograms("openssl").length > 0)("certificates and proxies (need openssl)", () => {
  let dir = "";
  let authority: Authority;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-way-"));
    authority = await makeAuthority(dir);
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  async function serve(options: ServerOptions | undefined): Promise<number> {
    const server = options === undefined ? createServer(answer) : createTlsServer(options, answer);
    // A client that does not like us hangs up.
    server.on("tlsClientError", () => {}).on("clientError", (_, socket) => void socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return (server.address() as { port: number }).port;
  }

  const resolveAt = async (host: string, options: RegistrySourceOptions) => {
    await using source = registrySource(parse(`${host}/a/b:1`), { attempts: 1, ...options });
    return await source.resolve({ platform });
  };

  const SERVED = { subject: "/CN=localhost", names: "IP:127.0.0.1" };
  test("an expired one, one for another host, one from somewhere: each is told, with what to do", async () => {
    const expired = await authority.issue("expired", { ...SERVED, days: -1 });
    const elsewhere = await authority.issue("elsewhere", {
      subject: "/CN=x",
      names: "DNS:other.example,DNS:more.example",
    });
    const good = await authority.issue("good", SERVED);
    const rows = [
      [expired, authority.cert, /has expired$/, /renew/],
      [elsewhere, authority.cert, /made for other\.example, more\.example$/, /use a name/],
      [good, undefined, /not trusted here$/, /certs\.d\/127\.0\.0\.1:\d+\/ca\.crt/],
    ] as const;
    for (const [pair, ca, message, hint] of rows) {
      const port = await serve(pair);
      await expect(resolveAt(`127.0.0.1:${port}`, { ca })).rejects.toMatchObject({
        code: "tls-error",
        message: expect.stringMatching(message),
        hint: expect.stringMatching(hint),
      });
    }
    const port = await serve(good);
    expect((await resolveAt(`127.0.0.1:${port}`, { ca: authority.cert })).referenceDigest).toBe(
      image.manifest.digest,
    );
  });

  test("a client certificate is shown where it is wanted", async () => {
    const server = await authority.issue("server", SERVED);
    const client = await authority.issue("client", { subject: "/CN=ali" });
    const port = await serve({ ...server, ca: authority.cert, requestCert: true, rejectUnauthorized: true });
    const host = `127.0.0.1:${port}`;
    const shown = await resolveAt(host, { ca: authority.cert, clientCertificate: client });
    expect(shown.referenceDigest).toBe(image.manifest.digest);
  });

  test.each([
    ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", /wants a client certificate/],
    ["ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE", /does not accept the client certificate/],
    ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", /does not accept/],
    ["ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE", /may want a client certificate/],
    ["CERT_NOT_YET_VALID", /not valid yet/],
    ["CERT_REVOKED", /revoked/],
    ["DEPTH_ZERO_SELF_SIGNED_CERT", /self-signed/],
  ])("%s", (code, problem) => {
    const found = certificateProblem(Object.assign(new Error("x"), { code }), "r.example:5000");
    expect(found?.problem).toMatch(problem);
    expect(found?.hint).not.toBe("");
  });

  interface TestProxy {
    readonly url: string;
    readonly asked: string[];
  }
  /** Leads every name to one port; wants a password where one is given. */
  async function startProxy(port: number, credentials?: string, tls?: ServerOptions): Promise<TestProxy> {
    const asked: string[] = [];
    const wanted = credentials && `Basic ${Buffer.from(credentials).toString("base64")}`;
    const isRefused = (request: IncomingMessage) =>
      wanted !== undefined && request.headers["proxy-authorization"] !== wanted;
    const listener = (request: IncomingMessage, response: ServerResponse) => {
      asked.push(`${request.method} ${request.url}`);
      if (isRefused(request)) {
        response.writeHead(407).end();
        return;
      }
      const { pathname } = new URL(request.url ?? "");
      request.url = pathname;
      answer(request, response);
    };
    const proxy = tls ? createTlsServer(tls, listener) : createServer(listener);
    proxy.on("tlsClientError", () => {});
    proxy.on("connect", (request, client, head) => {
      asked.push(`CONNECT ${request.url}`);
      client.on("error", () => {});
      if (isRefused(request)) {
        client.end("HTTP/1.1 407 No\r\n\r\n");
        return;
      }
      const upstream = connect(port, "127.0.0.1", () => {
        client.write("HTTP/1.1 200 OK\r\n\r\n");
        upstream.write(head);
        upstream.pipe(client).pipe(upstream);
      });
      upstream.on("error", () => client.destroy());
      client.on("close", () => upstream.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    onTestFinished(async () => {
      proxy.closeAllConnections();
      await new Promise((resolve) => proxy.close(resolve));
    });
    const at = credentials === undefined ? "" : `${credentials}@`;
    return {
      url: `${tls ? "https" : "http"}://${at}127.0.0.1:${(proxy.address() as { port: number }).port}`,
      asked,
    };
  }

  test("a proxy for https: tunnelled, the certificate is the registry's", async () => {
    const server = await authority.issue("proxied", { subject: "/CN=x", names: "DNS:registry.test" });
    const proxy = await startProxy(await serve(server));
    const proxies = { https: proxy.url };
    const found = await resolveAt("registry.test", { ca: authority.cert, proxies });
    expect(found.referenceDigest).toBe(image.manifest.digest);
    expect(proxy.asked[0]).toBe("CONNECT registry.test:443");
    await expect(resolveAt("other.test", { ca: authority.cert, proxies })).rejects.toMatchObject({
      code: "tls-error",
    });
    await expect(resolveAt("registry.test", { proxies })).rejects.toMatchObject({ code: "tls-error" });
    const direct = resolveAt("registry.test", {
      ca: authority.cert,
      proxies: { ...proxies, except: ".test" },
    });
    await expect(direct).rejects.toMatchObject({ code: "registry-unreachable" });
  });

  test("a proxy that wants a password gets it, and is told of when it does not", async () => {
    const server = await authority.issue("proxied2", { subject: "/CN=x", names: "DNS:registry.test" });
    const proxy = await startProxy(await serve(server), "ali:sesame");
    const found = await resolveAt("registry.test", { ca: authority.cert, proxies: { https: proxy.url } });
    expect(found.referenceDigest).toBe(image.manifest.digest);
    const without = { https: proxy.url.replace("ali:sesame@", "") };
    await expect(resolveAt("registry.test", { ca: authority.cert, proxies: without })).rejects.toMatchObject({
      code: "registry-unreachable",
      message: expect.stringContaining("407"),
    });
  });

  test("a proxy with TLS, and the registry behind it: whom the system trusts is trusted", async () => {
    const server = await authority.issue("proxied3", { subject: "/CN=x", names: "DNS:registry.test" });
    const own = await authority.issue("proxy", { subject: "/CN=x", names: "IP:127.0.0.1" });
    const proxy = await startProxy(await serve(server), undefined, own);
    const proxies = { https: proxy.url };
    const trusting = (file: string) => ({ proxies, trustStore: { files: [file], dirs: [] } });
    const found = await resolveAt("registry.test", trusting(authority.certPath));
    expect(found.referenceDigest).toBe(image.manifest.digest);
    await expect(resolveAt("registry.test", trusting("/nowhere"))).rejects.toMatchObject({
      code: "tls-error",
    });
  });

  test("a proxy for http: asked for the whole URL", async () => {
    const proxy = await startProxy(await serve(undefined));
    const proxies = { http: proxy.url, https: proxy.url };
    const found = await resolveAt("registry.test", { insecure: true, proxies });
    expect(found.referenceDigest).toBe(image.manifest.digest);
    expect(proxy.asked).toContain("GET http://registry.test/v2/a/b/manifests/1");
  });

  test.each(["socks5", "socks5h"])(
    "%s: the proxy looks the name up, the certificate is the registry's",
    async (scheme) => {
      const server = await authority.issue(`socks-${scheme}`, {
        subject: "/CN=x",
        names: "DNS:registry.test",
      });
      const proxy = await startSocks({ port: await serve(server), credentials: "ali:se same" });
      const at = (login: string) => ({ https: `${scheme}://${login}127.0.0.1:${proxy.port}` });
      const proxies = at("ali:se%20same@");
      const found = await resolveAt("registry.test", { ca: authority.cert, proxies });
      expect(found.referenceDigest).toBe(image.manifest.digest);
      expect(proxy.asked[0]).toBe("registry.test:443");
      await expect(resolveAt("other.test", { ca: authority.cert, proxies })).rejects.toMatchObject({
        code: "tls-error",
      });
      for (const [login, says] of [
        ["ali:wrong@", /does not know this user and password/],
        ["", /wants another kind of login/],
      ] as const)
        await expect(resolveAt("registry.test", { proxies: at(login) })).rejects.toMatchObject({
          code: "registry-unreachable",
          message: expect.stringMatching(says),
        });
    },
  );

  test("socks5 for http, and by address", async () => {
    const proxy = await startSocks({ port: await serve(undefined) });
    const proxies = { http: proxy.url, https: proxy.url };
    expect((await resolveAt("registry.test", { insecure: true, proxies })).referenceDigest).toBe(
      image.manifest.digest,
    );
    expect(proxy.asked).toContain("registry.test:80");
    await resolveAt("192.0.2.7:5000", { insecure: true, proxies });
    expect(proxy.asked.at(-1)).toBe("192.0.2.7:5000");
  });

  test.each<[name: string, proxy: Omit<SocksOptions, "port">, code: string, says: RegExp]>([
    ["refuses", { reply: [5, 2, 0, 1, 0, 0, 0, 0, 0, 0] }, "registry-unreachable", /its rules forbid it/],
    [
      "answers with an unknown number",
      { reply: [5, 77, 0, 1, 0, 0, 0, 0, 0, 0] },
      "registry-unreachable",
      /answers 77/,
    ],
    [
      "answers with an unknown address",
      { reply: [5, 0, 0, 9, 0, 0, 0] },
      "registry-unreachable",
      /no SOCKS5/,
    ],
    [
      "is none",
      { greeting: Buffer.from("HTTP/1.1 400 Bad\r\n\r\n") },
      "registry-unreachable",
      /does not speak SOCKS5/,
    ],
    ["hangs up at once", { greeting: Buffer.of() }, "registry-unreachable", /connection reset/],
    ["hangs up half-way", { reply: [5, 0, 0] }, "registry-unreachable", /connection reset/],
    ["says nothing", { greeting: undefined, silent: true }, "registry-timeout", /too slow/],
  ])("a SOCKS5 proxy that %s", async (_, options, code, says) => {
    const proxy = await startSocks({ port: await serve(undefined), ...options });
    const failing = resolveAt("registry.test", {
      proxies: { https: proxy.url },
      timeouts: { connectMs: 500 },
    });
    await expect(failing).rejects.toMatchObject({ code, message: expect.stringMatching(says) });
  });
});

interface SocksOptions {
  /** Where every name leads to. */
  readonly port: number;
  /** USER:PASSWORD that it wants. */
  readonly credentials?: string | undefined;
  /** Sent instead of an answer, and then the end: to the greeting, to what is asked for. */
  readonly greeting?: Uint8Array | undefined;
  readonly reply?: readonly number[] | undefined;
  readonly silent?: boolean | undefined;
}

interface Refusal {
  readonly last: Uint8Array;
}

/** One step a message, as clients send them. What is asked for, or the last thing that is said. */
async function negotiate(client: Socket, options: SocksOptions): Promise<string | Refusal> {
  const { credentials, greeting, reply } = options;
  const next = async () => ((await once(client, "data")) as [Buffer])[0];
  const methods = (await next()).subarray(2);
  if (greeting !== undefined) return { last: greeting };
  const method = credentials === undefined ? 0 : 2;
  if (!methods.includes(method)) return { last: Buffer.from([5, 255]) };
  client.write(Buffer.from([5, method]));
  if (credentials !== undefined) {
    const login = await next();
    const userBytes = login[1] ?? 0;
    const [user, password] = [login.subarray(2, 2 + userBytes), login.subarray(3 + userBytes)];
    if (`${user.toString()}:${password.toString()}` !== credentials) return { last: Buffer.from([1, 1]) };
    client.write(Buffer.from([1, 0]));
  }
  const request = await next();
  if (reply !== undefined) return { last: Buffer.from(reply) };
  const name = request[3] === 1 ? request.subarray(4, 8).join(".") : request.subarray(5, -2).toString();
  return `${name}:${request.readUInt16BE(request.length - 2)}`;
}

/** A SOCKS5 server on loopback. */
async function startSocks(options: SocksOptions) {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const serve = async (client: Socket) => {
    const wanted = await negotiate(client, options);
    if (typeof wanted !== "string") {
      client.end(wanted.last);
      return;
    }
    asked.push(wanted);
    const upstream = connect(options.port, "127.0.0.1", () => {
      // In two pieces, and bound to a name.
      client.write(Buffer.from([5, 0, 0, 3, 2]));
      client.write(Buffer.from([0x61, 0x62, 0, 80]));
      upstream.pipe(client).pipe(upstream);
    });
    upstream.on("error", () => client.destroy());
    client.on("close", () => upstream.destroy());
  };
  const server = createNetServer((client) => {
    sockets.add(client);
    client.on("error", () => {});
    if (options.silent !== true) serve(client).catch(() => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as { port: number };
  return { port, url: `socks5://127.0.0.1:${port}`, asked };
}
