/**
 * One repository of one registry over HTTP: finds the scheme, authorises, and turns statuses into errors.
 * https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
 *
 * Schemes: https, and nothing else, for hosts elsewhere. A registry that the user calls insecure is asked once
 * with https and then with http if what answers does not speak TLS, or if nobody is at the port of https and the
 * user has named none. One on loopback is asked with http before that, which it speaks nearly always. A certificate
 * that cannot be verified never leads to http.
 */
import type { Readable } from "node:stream";
import type { Keychain } from "../../auth/credentials.ts";
import type { Digest } from "../../reference/digest.ts";
import { DEFAULT_REGISTRY } from "../../reference/reference.ts";
import { retry } from "../../util/retry.ts";
import type { RetryOptions } from "../../util/retry.ts";
import { SourceError } from "../error.ts";
import { isLoopback } from "./address.ts";
import { Authorization } from "./authorization.ts";
import type { Addressing } from "./guard.ts";
import { detailOf, isNobodyThere, isNotTls, parseRetryAfter } from "./http-error.ts";
import type { Proxies } from "./proxy.ts";
import { isTakenAs, takenAsAnother } from "./taken.ts";
import { admitRedirect, discard, headerOf, openTransport, readErrorBody } from "./transport.ts";
import type { ClientCertificate, HttpRequest, HttpResponse, Timeouts, Transport } from "./transport.ts";
import type { TrustStore } from "./trust.ts";

/** docker.io is a name; its registry answers elsewhere. */
const DOCKER_HUB_HOST = "registry-1.docker.io";

export interface ClientOptions {
  /** As in `Reference`. */
  readonly registry: string;
  /** "" asks the registry as a whole, at `/v2/`. */
  readonly repository: string;
  readonly keychain?: Keychain | undefined;
  readonly insecure?: boolean | undefined;
  readonly ca?: string | undefined;
  /** What the system trusts is trusted here. Default: the usual places. */
  readonly trustStore?: TrustStore | undefined;
  readonly clientCertificate?: ClientCertificate | undefined;
  readonly proxies?: Proxies | undefined;
  /** Default: to pull from the repository. */
  readonly scopes?: readonly string[] | undefined;
  /** What would be of use besides; it goes without. */
  readonly furtherScopes?: readonly string[] | undefined;
  readonly timeouts?: Timeouts | undefined;
  /** What names and addresses mean. Default: what the system says. */
  readonly addressing?: Addressing | undefined;
  readonly userAgent?: string | undefined;
  /** Tries in all for each request. Default 5. */
  readonly attempts?: number | undefined;
  /** Longest time that Retry-After may ask for; a registry that asks for more is left alone. Default 60,000. */
  readonly maxRetryAfterMs?: number | undefined;
}

export interface ClientRequest {
  /** Behind `/v2/REPOSITORY/`: `manifests/latest`. */
  readonly path: string;
  /** Instead of the path: where the registry has said to go on. */
  readonly url?: URL | undefined;
  readonly method?: HttpRequest["method"];
  /** What is complete with this request: the registry must not say that it took something else. */
  readonly sent?: Digest | undefined;
  /** Read again when the request has to be sent again. */
  readonly body?: Uint8Array | (() => Readable) | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** What was asked for, in messages: `docker.io/library/alpine:latest`, `blob sha256:…`. */
  readonly what: string;
  /** The code for 404. */
  readonly notFound: string;
  /** Statuses that are answers. */
  readonly accepted: readonly number[];
}

/** Of an error, one behind the other. */
const MAX_CAUSES = 10;

const NOT_FOUND_HINTS = new Map([
  ["image-not-found", "look at the name and the tag"],
  ["blob-not-found", "the image is incomplete in the registry: push it again"],
]);

/** Whether it is the registry itself that answered, asked directly. */
function isOf(base: URL, { url, sameOrigin }: HttpResponse): boolean {
  return sameOrigin && url.origin === base.origin;
}

export class RegistryClient implements AsyncDisposable {
  readonly #options: ClientOptions;
  readonly #transport: Transport;
  readonly #authorization: Authorization;
  readonly #candidates: readonly URL[];
  #base: URL | undefined;

  constructor(options: ClientOptions) {
    const {
      registry,
      repository,
      keychain,
      insecure = false,
      ca,
      trustStore,
      timeouts,
      addressing,
      userAgent = "flamebox",
      clientCertificate,
      proxies,
      scopes,
      furtherScopes,
    } = options;
    this.#options = options;
    const host = registry === DEFAULT_REGISTRY ? DOCKER_HUB_HOST : registry;
    const https = new URL(`https://${host}`);
    const plain = insecure || isLoopback(https.hostname);
    const http = new URL(`http://${host}`);
    this.#candidates = plain ? [https, http] : [https];
    const own = { registryHostname: https.hostname, registryOrigins: [https.origin, http.origin] };
    const how = { insecure, ca, trustStore, clientCertificate, proxies, timeouts, addressing, userAgent };
    this.#transport = openTransport({ ...own, ...how });
    const transport = this.#transport;
    this.#authorization = new Authorization({
      transport,
      registry,
      repository,
      keychain,
      scopes,
      furtherScopes,
      attempts: options.attempts,
      maxRetryAfterMs: options.maxRetryAfterMs,
    });
  }

  /** For `retry` and loops like it. */
  get retryOptions(): RetryOptions {
    const { attempts = 5, maxRetryAfterMs = 60_000 } = this.#options;
    return {
      attempts,
      maxDelayMs: maxRetryAfterMs,
      delayOf: (error) => (error instanceof SourceError ? error.retryAfterMs : undefined),
    };
  }

  /** `request` once, again while its error is temporary. */
  getWithRetry<T>(request: ClientRequest, read: (response: HttpResponse) => T | Promise<T>): Promise<T> {
    const once = async () => {
      const response = await this.get(request);
      try {
        return await read(response);
      } catch (error) {
        throw this.conceal(error);
      }
    };
    return retry(once, { ...this.retryOptions, signal: request.signal });
  }

  /**
   * One answer with an accepted status. A refused or expired authorisation is renewed once.
   * @throws SourceError
   */
  async get(request: ClientRequest): Promise<HttpResponse> {
    try {
      return await this.#get(request);
    } catch (error) {
      throw this.conceal(error);
    }
  }

  async #get(request: ClientRequest): Promise<HttpResponse> {
    const base = await this.#endpoint(request.signal);
    const used = await this.#authorization.current(request.signal);
    let response = await this.#send(base, request, used);
    // Nobody else gets credentials for asking: a host that it redirects to, or where an upload goes on.
    if (response.status === 401 && isOf(base, response)) {
      discard(response);
      const fresh = await this.#authorization.answer(response, base, used, request.signal);
      response = await this.#send(base, request, fresh);
    }
    const { accepted, sent, what } = request;
    if (accepted.includes(response.status)) {
      if (sent === undefined || isTakenAs(sent, response)) return response;
      discard(response);
      throw takenAsAnother(what, response);
    }
    throw await this.#statusError(response, request, isOf(base, response));
  }

  /**
   * The error, without anything in it, or in what caused it, that the registry was told in confidence. What `get`,
   * `getWithRetry` and `nextOf` throw has been here already.
   */
  conceal(error: unknown): unknown {
    let at = error;
    for (let depth = 0; at instanceof Error && depth < MAX_CAUSES; depth++) {
      const message = this.#authorization.concealed(at.message);
      // The stack begins with the message.
      if (message !== at.message)
        Object.assign(at, { message, stack: this.#authorization.concealed(at.stack ?? "") });
      at = at.cause;
    }
    return error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]();
  }

  /** Where an upload goes on, as the answer to its last step says. @throws SourceError `unsafe-redirect` */
  nextOf(response: HttpResponse): URL {
    const { hostname } = this.#candidates[0] as URL;
    const location = headerOf(response, "location") || undefined;
    const { protocol, host } = response.url;
    // A registry that does not know of the TLS before it names itself with http.
    const plain = `http://${host}/`;
    const own = protocol === "https:" && location?.startsWith(plain) === true;
    const next = own ? `https://${host}/${location.slice(plain.length)}` : location;
    try {
      return admitRedirect(response.url, next, hostname);
    } catch (error) {
      throw this.conceal(error);
    }
  }

  #send(base: URL, request: ClientRequest, authorization: string | undefined): Promise<HttpResponse> {
    const { path, headers = {}, signal, method } = request;
    const { repository } = this.#options;
    const url = request.url ?? new URL(repository === "" ? "/v2/" : `/v2/${repository}/${path}`, base);
    const body = typeof request.body === "function" ? request.body() : request.body;
    // An upload may go on elsewhere: the credentials are the registry's alone.
    const own = url.origin === base.origin ? authorization : undefined;
    return this.#transport.send({ url, headers, authorization: own, signal, method, body });
  }

  /** Where the registry answers. Two callers at once may both ask; they find the same. */
  async #endpoint(signal: AbortSignal | undefined): Promise<URL> {
    if (this.#base) return this.#base;
    const [https, http] = this.#candidates as readonly [URL, URL?];
    if (!http) return (this.#base = https);
    if (isLoopback(http.hostname) && (await this.#speaksHttp(http, signal))) return (this.#base = http);
    try {
      discard(await this.#transport.send({ url: new URL("/v2/", https), signal }));
      return (this.#base = https);
    } catch (error) {
      const cause = error instanceof SourceError ? error.cause : undefined;
      // A self-signed certificate that --insecure accepts does not come here; any other is a plain error.
      if (isNotTls(cause)) return (this.#base = http);
      const { insecure = false } = this.#options;
      const isPortNamed = https.port !== "" || http.port !== "";
      if (!insecure || isPortNamed || !isNobodyThere(cause)) throw error;
      if (!(await this.#speaksHttp(http, signal))) throw error;
      return (this.#base = http);
    }
  }

  /** A server that wants TLS resets the connection or answers 400. */
  async #speaksHttp(base: URL, signal: AbortSignal | undefined): Promise<boolean> {
    try {
      const response = await this.#transport.send({ url: new URL("/v2/", base), signal });
      discard(response);
      return response.status === 200 || response.status === 401;
    } catch (error) {
      if (error instanceof SourceError) return false;
      throw error;
    }
  }

  async #statusError(
    response: HttpResponse,
    { what, notFound, signal, method }: ClientRequest,
    isOwn: boolean,
  ): Promise<SourceError> {
    const { status } = response;
    const { registry, maxRetryAfterMs = 60_000 } = this.#options;
    const detail = detailOf(await readErrorBody(response));
    signal?.throwIfAborted();
    const more = detail === "" ? "" : `: ${detail}`;
    const host = isOwn ? registry : `${response.url.host} (asked by ${registry})`;
    if (status === 401 && isOwn) return this.#authorization.refusal(detail);
    if (status === 401 || status === 403) {
      const isWrite = method !== undefined && method !== "GET" && method !== "HEAD";
      const hint = `look at the name, and whether these credentials may ${isWrite ? "push" : "pull"} it`;
      return new SourceError("denied", `registry ${host} denies access to ${what}${more}`, { hint, status });
    }
    if (status === 404) {
      const message = `${what} not found in registry ${host}${more}`;
      return new SourceError(notFound, message, { hint: NOT_FOUND_HINTS.get(notFound), status });
    }
    const retryAfterMs = parseRetryAfter(headerOf(response, "retry-after"), Date.now());
    const patient = (retryAfterMs ?? 0) <= maxRetryAfterMs;
    if (status === 429) {
      const wait = retryAfterMs === undefined ? "" : `; it asks to wait ${Math.ceil(retryAfterMs / 1000)} s`;
      const message = `registry ${host} limits how often it is asked, for ${what}${wait}${more}`;
      const hint = "wait, or log in: many registries allow more to known users";
      const details = { hint, status, retryAfterMs, temporary: patient };
      return new SourceError("too-many-requests", message, details);
    }
    const temporary = (status >= 500 || status === 408) && patient;
    const message = `registry ${host} answered ${status} for ${what}${more}`;
    return new SourceError("registry-error", message, { status, retryAfterMs, temporary });
  }
}
