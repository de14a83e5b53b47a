/** The way to a registry: certificates that are wrong, certificates that are wanted, and proxies. */
import { mkdtemp, rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { ServerOptions } from "node:https";
import { connect } from "node:net";
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
});
