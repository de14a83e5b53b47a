/**
 * HTTP for registries: undici, loaded at the first request (undici.ts), with redirects followed by hand.
 *
 *     get(url, authorization) ─► request ─► 3xx? admit the next URL, drop the secret across origins ─► …
 *
 * Rules that every request keeps: http and https only; never from https to http; never nearer to this machine than
 * the registry is (guard.ts); at most 10 redirects; headers, idle bodies and connects have deadlines, and bodies a
 * least speed (pace.ts). Only the registry itself, host and port, may go unverified with `insecure`, and only it is
 * shown a client certificate: what else is on its host may be somebody else's.
 */
import { Readable } from "node:stream";
import { createSecureContext, rootCertificates } from "node:tls";
import type { SecureContext } from "node:tls";
import type { Dispatcher } from "undici";
import { printable, quote } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import { isLocalOnly, isLoopback } from "./address.ts";
import { isUntrusted } from "./certificate-problem.ts";
import { ConnectGuard } from "./guard.ts";
import type { Addressing } from "./guard.ts";
import { networkError } from "./http-error.ts";
import { DEFAULT_PACE, paced } from "./pace.ts";
import type { Pace } from "./pace.ts";
import { isSocks, proxyFor } from "./proxy.ts";
import type { Proxies } from "./proxy.ts";
import { systemAuthorities } from "./trust.ts";
import type { TrustStore } from "./trust.ts";
import { loadUndici } from "./undici.ts";

const DEFAULT_CONNECT_MS = 15_000;
const DEFAULT_HEADERS_MS = 30_000;
const MAX_REDIRECTS = 10;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const MAX_HEADER_BYTES = 32 * 1024;
/** Bodies that nobody reads are drained up to this size, so that the connection can be used again. */
const MAX_DRAIN_BYTES = 64 * 1024;
/** An error's details are not worth more. */
const ERROR_BODY_DEADLINE_MS = 10_000;
/** Read ahead per response: large enough that reading is not paused and resumed for every socket read. */
const READ_AHEAD_BYTES = 1024 * 1024;

export interface Timeouts {
  /** Until a connection stands, TLS included. Default 15,000. */
  readonly connectMs?: number | undefined;
  /** From the request to the end of the answer's headers. Default 30,000. */
  readonly headersMs?: number | undefined;
  /** Between two pieces of a body, while somebody reads. Default 60,000. */
  readonly bodyIdleMs?: number | undefined;
  /** What a body must deliver while somebody reads. Default 16 KiB in 60,000 ms. */
  readonly pace?: Pace | undefined;
}

export interface TransportOptions {
  /** `URL.hostname` of the registry. */
  readonly registryHostname: string;
  /** `URL.origin` of the registry, for each scheme that it may be asked with. */
  readonly registryOrigins: readonly string[];
  /** Does not verify the certificate of the registry, at its own port. */
  readonly insecure: boolean;
  /** PEM, trusted beside the usual authorities. */
  readonly ca?: string | undefined;
  /** What the system trusts is trusted here. Default: the usual places. */
  readonly trustStore?: TrustStore | undefined;
  /** Shown to the registry only, at its own port. */
  readonly clientCertificate?: ClientCertificate | undefined;
  readonly proxies?: Proxies | undefined;
  readonly timeouts?: Timeouts | undefined;
  /** Default: the system's. */
  readonly addressing?: Addressing | undefined;
  readonly userAgent: string;
}

/** Both PEM. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

export interface HttpRequest {
  readonly url: URL;
  /** Default GET, or POST with a form. What is neither GET nor HEAD is not redirected. */
  readonly method?: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | undefined;
  readonly body?: Uint8Array | Readable | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** Value of the Authorization header; goes to the origin of `url` only. */
  readonly authorization?: string | undefined;
  /** Form fields: the request is a POST, and redirects are refused. */
  readonly form?: URLSearchParams | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Dispatcher.ResponseData["body"];
  /** Where the answer came from, behind all redirects. */
  readonly url: URL;
  /** The answer came from the origin that was asked, which need not be the registry's. */
  readonly sameOrigin: boolean;
  readonly pace: Pace;
}

export interface Transport extends AsyncDisposable {
  /** Any status but a redirect is an answer. @throws SourceError; the signal's reason when aborted */
  send(request: HttpRequest): Promise<HttpResponse>;
}

export function headerOf(response: Pick<HttpResponse, "headers">, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** Lets go of a response that nobody reads. */
export function discard(response: Pick<HttpResponse, "body">): void {
  response.body.dump({ limit: MAX_DRAIN_BYTES }).catch(() => {});
}

/** The next URL of a redirect, or the reason not to go there. */
export function admitRedirect(from: URL, location: string | undefined, registryHostname: string): URL {
  const refuse = (problem: string) =>
    new SourceError("unsafe-redirect", `${from.host} redirects ${problem}`, {
      hint: "the registry or a proxy before it is set up wrongly, or somebody is meddling",
    });
  if (location === undefined) throw refuse("without saying where to");
  const next = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (!next) throw refuse(`to something that is no URL: ${quote(location)}`);
  if (next.protocol !== "https:" && next.protocol !== "http:") throw refuse(`to ${printable(next.protocol)}`);
  if (from.protocol === "https:" && next.protocol === "http:") {
    throw refuse(`from https to http://${next.host}`);
  }
  if (isLocalOnly(next.hostname) && !isLoopback(registryHostname)) {
    throw refuse(`to ${next.host}, an address that only this machine can mean`);
  }
  return next;
}

function tooLate(host: string): SourceError {
  const message = `registry ${host} is too slow: no answer within the time limit`;
  return new SourceError("registry-timeout", message, { temporary: true });
}

class UndiciTransport implements Transport {
  readonly #options: TransportOptions;
  readonly #guard: ConnectGuard;
  readonly #agents = new Map<string, Promise<Dispatcher>>();
  /** The system's authorities, from when a certificate could not be verified without them. */
  #more: Promise<readonly string[]> | undefined;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#guard = new ConnectGuard(options.registryHostname, options.addressing);
  }

  /** Made once for all connections of an agent: authorities take long to parse. */
  async #contextOf(clientCertificate: ClientCertificate | undefined): Promise<SecureContext> {
    const { ca } = this.#options;
    const further = [...(ca === undefined ? [] : [ca]), ...((await this.#more) ?? [])];
    return createSecureContext({
      ...(further.length === 0 ? {} : { ca: [...rootCertificates, ...further] }),
      ...clientCertificate,
    });
  }

  async #makeAgent(url: URL, isRegistry: boolean, proxy: URL | undefined): Promise<Dispatcher> {
    const undici = await loadUndici();
    const { insecure, clientCertificate, timeouts = {} } = this.#options;
    const timeout = timeouts.connectMs ?? DEFAULT_CONNECT_MS;
    const tlsTo = async ({ protocol }: URL, shown?: ClientCertificate) =>
      protocol === "https:" ? { timeout, secureContext: await this.#contextOf(shown) } : { timeout };
    const connect = {
      ...(await tlsTo(url, isRegistry ? clientCertificate : undefined)),
      rejectUnauthorized: !(isRegistry && insecure),
    };
    const common = {
      headersTimeout: timeouts.headersMs ?? DEFAULT_HEADERS_MS,
      bodyTimeout: timeouts.bodyIdleMs ?? 60_000,
      maxHeaderSize: MAX_HEADER_BYTES,
      pipelining: 1,
    };
    if (proxy === undefined) {
      const guarded = this.#guard.connector(undici.buildConnector, connect, isRegistry);
      return new undici.Agent({ ...common, connect: guarded });
    }
    if (isSocks(proxy)) {
      const { socksConnector } = await import("./socks.ts");
      return new undici.Agent({ ...common, connect: socksConnector(proxy, undici.buildConnector, connect) });
    }
    const ProxyAgent = await undici.loadProxyAgent();
    // Proxies often refuse to tunnel to port 80, and have to be asked for http itself.
    const proxied = {
      uri: proxy.href,
      requestTls: connect,
      proxyTls: await tlsTo(proxy),
      proxyTunnel: false,
    };
    return new ProxyAgent({ ...common, ...proxied });
  }

  #isRegistry({ origin }: URL): boolean {
    return this.#options.registryOrigins.includes(origin);
  }

  #agentFor(url: URL): Promise<Dispatcher> {
    const isRegistry = this.#isRegistry(url);
    const proxy = proxyFor(url, this.#options.proxies ?? {});
    const key = `${isRegistry} ${url.protocol} ${this.#more !== undefined} ${proxy?.href ?? ""}`;
    const agent = this.#agents.get(key) ?? this.#makeAgent(url, isRegistry, proxy);
    this.#agents.set(key, agent);
    return agent;
  }

  #trustSystem(): Promise<readonly string[]> {
    return (this.#more ??= systemAuthorities(this.#options.trustStore));
  }

  /** Once more where only the system's authorities may vouch for the other side: nothing was sent to it yet. */
  async #dispatch(url: URL, options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> {
    const undici = await loadUndici();
    // A stream is spent when its request fails, whatever was sent of it.
    if (options.body instanceof Readable && url.protocol === "https:") await this.#trustSystem();
    const trusted = this.#more;
    try {
      return await undici.request(await this.#agentFor(url), options);
    } catch (error) {
      if (trusted !== undefined || !isUntrusted(error)) throw error;
      if ((await this.#trustSystem()).length === 0) throw error;
      return await undici.request(await this.#agentFor(url), options);
    }
  }

  async #request(url: URL, request: HttpRequest, authorization: string | undefined) {
    const { form, signal, headers, method = form ? "POST" : "GET", body = form?.toString() } = request;
    signal?.throwIfAborted();
    // undici's own deadline begins anew with each 1xx answer, of which there may be any number.
    const { connectMs = DEFAULT_CONNECT_MS, headersMs = DEFAULT_HEADERS_MS } = this.#options.timeouts ?? {};
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(tooLate(url.host)), connectMs + headersMs);
    try {
      return await this.#dispatch(url, {
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: {
          "user-agent": this.#options.userAgent,
          // Digests are of the bytes as they are: nobody may compress them on the way.
          "accept-encoding": "identity",
          ...headers,
          ...(form ? { "content-type": "application/x-www-form-urlencoded" } : {}),
          ...(authorization === undefined ? {} : { authorization }),
        },
        body: body ?? null,
        // Until the headers are here; the body has deadlines of its own.
        signal: signal ? AbortSignal.any([signal, late.signal]) : late.signal,
        highWaterMark: READ_AHEAD_BYTES,
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw networkError(error, url.host, this.#isRegistry(url));
    } finally {
      clearTimeout(timer);
    }
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    let { url, authorization } = request;
    let sameOrigin = true;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#request(url, request, authorization);
      // A body that breaks after its reader has left must not become an uncaught error.
      response.body.on("error", () => {});
      if (!REDIRECTS.has(response.statusCode)) {
        return {
          status: response.statusCode,
          headers: response.headers,
          body: response.body,
          url,
          sameOrigin,
          pace: this.#options.timeouts?.pace ?? DEFAULT_PACE,
        };
      }
      discard(response);
      if (request.form) throw new SourceError("unsafe-redirect", `${url.host} redirects a token request`);
      if (request.method !== undefined && request.method !== "GET" && request.method !== "HEAD")
        throw new SourceError("unsafe-redirect", `${url.host} redirects an upload`);
      if (redirects >= MAX_REDIRECTS) {
        const message = `${request.url.host} redirects more than ${MAX_REDIRECTS} times`;
        throw new SourceError("unsafe-redirect", message);
      }
      const next = admitRedirect(url, headerOf(response, "location"), this.#options.registryHostname);
      // Once dropped it stays dropped, even where a chain of redirects leads back.
      if (next.origin !== url.origin) {
        authorization = undefined;
        sameOrigin = false;
      }
      url = next;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of await Promise.all(this.#agents.values())) await agent.destroy();
  }
}

export function openTransport(options: TransportOptions): Transport {
  return new UndiciTransport(options);
}

/**
 * A body that must fit into memory.
 * @throws SourceError `invalid-response` when it is larger than `maxBytes`
 */
export async function readBody(
  response: HttpResponse,
  maxBytes: number,
  what: string,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  const tooLarge = () => {
    response.body.destroy();
    const message = `${what} from ${response.url.host} is larger than ${maxBytes} bytes`;
    return new SourceError("invalid-response", message);
  };
  if (Number(headerOf(response, "content-length") ?? 0) > maxBytes) throw tooLarge();
  try {
    for await (const chunk of paced(response.body, response.pace, response.url.host)) {
      sizeBytes += chunk.length;
      if (sizeBytes > maxBytes) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw networkError(error, response.url.host);
  }
  return Buffer.concat(chunks, sizeBytes);
}

/** The start of an error's body, as text; what cannot be read is empty. */
export async function readErrorBody(response: HttpResponse): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  const deadlineMs = Math.min(ERROR_BODY_DEADLINE_MS, response.pace.windowMs);
  const deadline = setTimeout(() => response.body.destroy(), deadlineMs);
  try {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes >= MAX_DRAIN_BYTES) break;
    }
  } catch {
    // The status says enough.
  } finally {
    clearTimeout(deadline);
  }
  return Buffer.concat(chunks).subarray(0, MAX_DRAIN_BYTES).toString("utf8");
}
