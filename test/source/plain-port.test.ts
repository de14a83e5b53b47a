/** Registries without a port in their name, which answer at 80, at 443, or at neither. */
import { createServer as createHttp } from "node:http";
import type { RequestListener, Server } from "node:http";
import { createServer as createHttps } from "node:https";
import { createServer as createTcp } from "node:net";
import type { LookupFunction } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { passwordCredentials } from "../../src/auth/credentials.ts";
import { digestOf } from "../../src/reference/digest.ts";
import { parse } from "../../src/reference/reference.ts";
import { registryTarget } from "../../src/source/registry/push.ts";
import type { RegistrySourceOptions } from "../../src/source/registry/registry.ts";
import { makeTls, world } from "../hostile/registry/world.ts";
import { missingPrograms } from "../support/programs.ts";

/** Of loopback, where nobody else listens; it counts as public. */
const ADDRESS = "127.0.80.80";
const NAME = "registry.public.test";
const digest = digestOf("blob");
const addressing = {
  ...world({ [NAME]: [[ADDRESS]] }),
  reachOf: () => "public" as const,
};

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createTcp()
      .once("error", () => resolve(false))
      .listen(port, ADDRESS, () => server.close(() => resolve(true)));
  });
}

const isFree = (await canListen(80)) && (await canListen(443));

async function listen(server: Server, port: number): Promise<void> {
  await new Promise<void>((resolve) => server.listen(port, ADDRESS, resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
}

/** Asks for a blob, which the registry does not have. */
async function ask(name: string, options: RegistrySourceOptions): Promise<string> {
  const keychain = { credentialsFor: async () => passwordCredentials("ali", "aliSecret42") };
  const access = { keychain, addressing, attempts: 1, timeouts: { connectMs: 500 }, ...options };
  await using target = registryTarget(parse(`${name}/x:1`), access);
  try {
    return (await target.has(digest)) ? "there" : "not there";
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
}

describe.skipIf(!isFree)("ports 80 and 443 (skips where they may not be listened on)", () => {
  let asked = 0;
  const registry: RequestListener = (request, response) => {
    asked++;
    if (request.headers.authorization !== undefined) response.writeHead(404).end();
    else response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
  };

  test("nobody at 443: http, for who is called insecure and names no port", async () => {
    await listen(createHttp(registry), 80);
    expect(await ask(NAME, { insecure: true })).toBe("not there");
    asked = 0;
    expect(await ask(NAME, {})).toBe("registry-unreachable");
    expect(await ask(`${NAME}:443`, { insecure: true })).toBe("registry-unreachable");
    expect(await ask(`${NAME}:4443`, { insecure: true })).toBe("registry-unreachable");
    expect(asked).toBe(0);
  });

  test("nobody at either: what is told is about 443", async () => {
    expect(await ask(NAME, { insecure: true })).toBe("registry-unreachable");
  });

  test("what is at 80 is no registry: nothing more is sent there", async () => {
    const lines: string[] = [];
    const page: RequestListener = ({ url }, response) => {
      lines.push(url ?? "");
      response.writeHead(404).end();
    };
    await listen(createHttp(page), 80);
    expect(await ask(NAME, { insecure: true })).toBe("registry-unreachable");
    expect(lines).toEqual(["/v2/"]);
  });

  test("no connection to 443 in time: http", async () => {
    await listen(createHttp(registry), 80);
    let lookups = 0;
    const lookup: LookupFunction = (hostname, options, callback) => {
      if (++lookups > 1) return addressing.lookup(hostname, options, callback);
      return callback(Object.assign(new Error("too late"), { code: "ETIMEDOUT" }), []);
    };
    const options = { insecure: true, addressing: { ...addressing, lookup } };
    expect(await ask(NAME, options)).toBe("not there");
  });

  test.skipIf(missingPrograms("openssl").length > 0)(
    "a certificate that nobody vouches for does not lead to http (needs openssl)",
    async () => {
      const plain: string[] = [];
      const atHttp: RequestListener = ({ url }, response) => {
        plain.push(url ?? "");
        response.end();
      };
      await listen(createHttp(atHttp), 80);
      await listen(createHttps(makeTls(), registry), 443);
      expect(await ask(NAME, {})).toBe("tls-error");
      expect(await ask(NAME, { insecure: true })).toBe("not there");
      expect(plain).toEqual([]);
    },
  );
});
