/**
 * A small internet on loopback: names that lead to addresses of 127.0.0.0/8, each of which stands for a kind of place.
 * `x.public.test` is at 127.0.0.2, and 127.0.0.2 counts as public; and so on.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { LookupFunction } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { passwordCredentials } from "../../../src/auth/credentials.ts";
import type { Credentials, Keychain } from "../../../src/auth/credentials.ts";
import { parse } from "../../../src/reference/reference.ts";
import { reachOf } from "../../../src/source/registry/address.ts";
import type { Reach } from "../../../src/source/registry/address.ts";
import type { Addressing } from "../../../src/source/registry/guard.ts";
import { registrySource } from "../../../src/source/registry/registry.ts";
import type { RegistrySourceOptions } from "../../../src/source/registry/registry.ts";
import { startServer } from "../../support/loopback-server.ts";
import type { Handler, LoopbackServer } from "../../support/loopback-server.ts";
import { makeImage } from "../../support/oci-layout.ts";

export const PLACES: Readonly<Record<Reach, string>> = {
  public: "127.0.0.2",
  private: "127.0.0.3",
  "link-local": "127.0.0.4",
  loopback: "127.0.0.1",
};
const KINDS = new Map(Object.entries(PLACES).map(([reach, address]) => [address, reach as Reach]));

export interface World extends Addressing {
  /** Names that were looked up, in order. */
  readonly lookups: string[];
}

/** `names` for those that mean something else: the addresses, lookup by lookup, the last for ever. */
export function world(names: Readonly<Record<string, readonly (readonly string[])[]>> = {}): World {
  const lookups: string[] = [];
  const answers = (hostname: string): readonly string[] => {
    const given = names[hostname];
    if (given)
      return given[Math.min(lookups.filter((name) => name === hostname).length, given.length) - 1] ?? [];
    const kind = /([a-z-]+)\.test$/.exec(hostname)?.[1] ?? "";
    return kind in PLACES ? [PLACES[kind as Reach]] : [];
  };
  const lookup: LookupFunction = (hostname, _, callback) => {
    lookups.push(hostname);
    const found = answers(hostname).map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
    if (found.length > 0) return callback(null, found);
    return callback(Object.assign(new Error(`no ${hostname}`), { code: "ENOTFOUND" }), []);
  };
  return { lookups, lookup, reachOf: (address) => KINDS.get(address) ?? reachOf(address) };
}

export const CANARY = "canary-5ecret/with+signs=";
export const credentials = passwordCredentials("ali", CANARY);
export const basic = `Basic ${Buffer.from(`ali:${CANARY}`).toString("base64")}`;
const SPELLINGS = [
  CANARY,
  basic.slice(6),
  basic.slice(6).replace(/=+$/, ""),
  encodeURIComponent(CANARY),
  encodeURIComponent(basic.slice(6)),
];

export function holdsCanary(text: string): boolean {
  return SPELLINGS.some((spelling) => text.includes(spelling));
}

const platform = { os: "linux", architecture: "amd64" };
/** What gzip cannot shorten. */
const noise = Buffer.alloc(50_000);
for (let i = 0, state = 1; i < noise.length; i++) noise[i] = (state = (state * 48_271) % 0x7fff_ffff) & 255;
export const image = makeImage({ platform, layers: [noise] });
export const layer = image.layers[0] as (typeof image.layers)[0];

/** The image, whoever asks. */
export const serveImage: Handler = (request, response) => {
  const url = request.url ?? "";
  if (url.startsWith("/v2/x/manifests/")) {
    response.setHeader("content-type", image.manifest.mediaType);
    response.end(image.manifestBytes);
  } else if (url === `/v2/x/blobs/${image.config.digest}`) response.end(image.configBytes);
  else if (url === `/v2/x/blobs/${layer.digest}`) response.end(layer.bytes);
  else response.writeHead(url === "/v2/" ? 200 : 404).end();
};

/** The image for those whose Authorization is one of `wanted`, the challenge for others. */
export function guarded(
  challenge: () => string,
  wanted: readonly string[] = [basic],
  serve = serveImage,
): Handler {
  return (request, response) => {
    if (wanted.includes(request.headers.authorization ?? "")) return serve(request, response);
    response.writeHead(401, { "www-authenticate": challenge() }).end();
    return undefined;
  };
}

export interface Outcome {
  /** `pulled`, or the error's code. */
  readonly outcome: string;
  readonly message: string;
  readonly elapsedMs: number;
  /** The canary was in the error, what it was caused by, or an event. */
  readonly leaked: boolean;
}

export interface PullOptions extends RegistrySourceOptions {
  readonly credentials?: Credentials | undefined;
}

/** Resolves `NAME/x:1` and reads its layer. Asks the keychain for nobody but the registry itself. */
export async function pull(name: string, options: PullOptions = {}): Promise<Outcome> {
  const asked: string[] = [];
  const keychain: Keychain = {
    async credentialsFor(registry) {
      asked.push(registry);
      return options.credentials;
    },
  };
  const events: unknown[] = [];
  const startedMs = performance.now();
  const end = (outcome: string, error?: unknown): Outcome => {
    if (asked.some((registry) => registry !== name))
      throw new Error(`credentials for ${asked.join()} were asked for`);
    const shown = inspect({ error, events }, { depth: 20, showHidden: true, maxStringLength: null });
    const message = error instanceof Error ? error.message : "";
    return { outcome, message, elapsedMs: performance.now() - startedMs, leaked: holdsCanary(shown) };
  };
  await using source = registrySource(parse(`${name}/x:1`), { attempts: 1, keychain, ...options });
  try {
    const resolved = await source.resolve({ platform });
    for await (const _ of resolved.openBlob(layer, { onProgress: (event) => events.push(event) }));
    return end("pulled");
  } catch (error) {
    return end(String((error as { code?: unknown }).code), error);
  }
}

/** Whether one of the requests to the server held the canary, anywhere. */
export function heardCanary(server: LoopbackServer): boolean {
  return server.requests.some((request) => holdsCanary(JSON.stringify(request)));
}

export interface Tls {
  readonly key: string;
  readonly cert: string;
}

/** For all names of this world. */
export function makeTls(): Tls {
  const dir = mkdtempSync(join(tmpdir(), "flamebox-world-"));
  try {
    const files = ["-keyout", join(dir, "key"), "-out", join(dir, "cert")];
    const kinds = Object.keys(PLACES).flatMap((kind) => [`DNS:*.${kind}.test`, `DNS:${kind}.test`]);
    const names = ["-subj", "/CN=world", "-addext", `subjectAltName=${kinds.join(",")}`];
    const kind = [
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
    ];
    execFileSync("openssl", ["req", ...kind, ...files, ...names], { stdio: "ignore" });
    return { key: readFileSync(join(dir, "key"), "utf8"), cert: readFileSync(join(dir, "cert"), "utf8") };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export const startAt = (reach: Reach, handler: Handler, tls?: Tls): Promise<LoopbackServer> =>
  startServer(handler, tls, PLACES[reach]);
