/** What is for the registry alone is for its host and its port: whoever else listens on its host is somebody else. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer } from "../../support/loopback-server.ts";
import type { Handler } from "../../support/loopback-server.ts";
import { makeAuthority } from "../../support/authority.ts";
import type { Authority, Pair } from "../../support/authority.ts";
import { missingPrograms } from "../../support/programs.ts";
import { credentials, guarded, layer, pull, serveImage } from "./world.ts";

const tokens: Handler = (request, response) =>
  request.url?.startsWith("/token") ? void response.end('{"token":"t"}') : serveImage(request, response);

const redirected =
  (part: string) =>
  (to: string): Handler =>
  (request, response) => {
    if (request.url?.includes(part) !== true) return serveImage(request, response);
    response.writeHead(307, { location: `${to}${request.url}` }).end();
    return undefined;
  };

const WAYS: readonly (readonly [string, (to: string) => Handler])[] = [
  ["a redirect of the manifest", redirected("/manifests/")],
  ["a redirect of the layer", redirected(layer.digest)],
  ["a token server", (to) => guarded(() => `Bearer realm="${to}/token",service="s"`, ["Bearer t"])],
];
const PLACES = ["127.0.0.1", "localhost"];
const rows = WAYS.flatMap(([way, lead]) => PLACES.map((place) => ({ way, lead, place })));

test("these are all of them", () => {
  expect(2 * rows.length + WAYS.length).toBeGreaterThanOrEqual(15);
});

describe.skipIf(missingPrograms("openssl").length > 0)("elsewhere (needs openssl)", () => {
  let dir = "";
  let authority: Authority;
  let server: Pair;
  let stranger: Pair;
  let client: Pair;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "flamebox-elsewhere-"));
    authority = await makeAuthority(dir);
    const names = { subject: "/CN=x", names: "IP:127.0.0.1,DNS:localhost" };
    server = await authority.issue("server", names);
    client = await authority.issue("client", { subject: "/CN=ali" });
    stranger = await (await makeAuthority(dir, "other")).issue("stranger", names);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const trustStore = { files: [], dirs: [] };

  /** Asks for a client certificate, and keeps whose it was shown with each request. */
  async function startAsking(pair: Pair, handler: Handler) {
    const shown: unknown[] = [];
    const asking = { cert: pair.cert, key: pair.key, ca: authority.cert, requestCert: true };
    const asked = await startServer(
      (request, response) => {
        shown.push((request.socket as TLSSocket).getPeerCertificate().subject?.CN ?? "nobody");
        handler(request, response);
      },
      { ...asking, rejectUnauthorized: false },
    );
    return { ...asked, shown };
  }

  test.each(rows)("a client certificate: not for $way at $place", async ({ lead, place }) => {
    await using target = await startAsking(server, tokens);
    await using registry = await startAsking(server, lead(`https://${place}:${target.port}`));
    const options = { ca: authority.cert, clientCertificate: client, credentials, trustStore };
    expect(await pull(registry.host, options)).toMatchObject({ outcome: "pulled", leaked: false });
    expect(new Set(registry.shown)).toEqual(new Set(["ali"]));
    expect(new Set(target.shown)).toEqual(new Set(["nobody"]));
  });

  test.each(rows)("--insecure: not for $way at $place", async ({ lead, place }) => {
    await using target = await startAsking(stranger, tokens);
    await using registry = await startAsking(stranger, lead(`https://${place}:${target.port}`));
    const options = { insecure: true, credentials, trustStore };
    const got = await pull(registry.host, options);
    expect(got).toMatchObject({ outcome: "tls-error", leaked: false });
    expect(got.message).toContain(`${place}:${target.port}, where the registry leads to, cannot be trusted`);
    expect(target.shown).toEqual([]);
    expect(registry.shown.length).toBeGreaterThan(0);
  });

  test.each(WAYS)("--insecure: %s at its own port is the registry's", async (_, lead) => {
    let to = "";
    await using registry = await startAsking(stranger, (request, response) => {
      const isOurs = request.url?.startsWith("/token") === true || request.url?.startsWith("/again") === true;
      if (!isOurs) return lead(`${to}/again`)(request, response);
      request.url = request.url?.replace("/again", "") ?? "";
      return tokens(request, response);
    });
    to = registry.origin;
    const got = await pull(registry.host, { insecure: true, credentials, trustStore });
    expect(got).toMatchObject({ outcome: "pulled", leaked: false });
  });
});
