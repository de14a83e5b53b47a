/**
 * How a registry is convinced.
 * https://distribution.github.io/distribution/spec/auth/token/
 *
 *     401 + WWW-Authenticate: Bearer realm,service ──► GET realm?service&scope  (basic auth where known)
 *                                                  ──► {"token", "expires_in"} ──► Authorization: Bearer
 *                             Basic                ──► Authorization: Basic
 *
 * The scopes are always ours, `repository:NAME:pull` to read: what the challenge asks for is not a reason to ask the
 * token server for more. One token serves all requests of a source until it expires or is refused.
 */
import * as v from "valibot";
import { parseChallenges } from "../../auth/challenge.ts";
import type { Challenge } from "../../auth/challenge.ts";
import type { Credentials, Keychain, PasswordCredentials } from "../../auth/credentials.ts";
import { unlessAborted } from "../../util/abort.ts";
import { quote } from "../../util/printable.ts";
import { retry } from "../../util/retry.ts";
import { SourceError } from "../error.ts";
import { isLocalOnly, isLoopback } from "./address.ts";
import { detailOf, parseRetryAfter } from "./http-error.ts";
import { headerOf, readBody, readErrorBody } from "./transport.ts";
import type { HttpResponse, Transport } from "./transport.ts";

const MAX_TOKEN_ANSWER_BYTES = 256 * 1024;
const DEFAULT_TOKEN_LIFETIME_MS = 60_000;
const MAX_TOKEN_LIFETIME_MS = 3_600_000;
/** A token is renewed this long before it ends, so that it does not end on its way. */
const EXPIRY_MARGIN_MS = 10_000;
const MIN_CONCEALED_LENGTH = 4;
/** What the query of a realm must not ask for in our name: other rights, or tokens that do not end. */
const OURS_TO_ASK = ["scope", "offline_token", "account", "grant_type", "refresh_token", "access_type"];

const tokenSchema = v.object({
  token: v.nullish(v.string()),
  access_token: v.nullish(v.string()),
  expires_in: v.fallback(v.nullish(v.number()), undefined),
});

export interface AuthorizationOptions {
  readonly transport: Transport;
  /** As in `Reference.registry`. */
  readonly registry: string;
  readonly repository: string;
  readonly keychain: Keychain | undefined;
  /** Default: to pull from the repository. */
  readonly scopes?: readonly string[] | undefined;
  /** What would be of use besides: a token server that refuses them is asked again without. */
  readonly furtherScopes?: readonly string[] | undefined;
  /** Tries in all for a token. Default 5. */
  readonly attempts?: number | undefined;
  /** The longest Retry-After that is waited for. Default 60,000. */
  readonly maxRetryAfterMs?: number | undefined;
}

/** A grant on its way. */
interface Pending {
  readonly grant: Promise<Grant>;
  readonly abort: AbortController;
  waiting: number;
}

interface Grant {
  /** Value of the Authorization header. */
  readonly header: string;
  /** On the clock of `performance.now()`. */
  readonly expiresAtMs: number;
}

function basicHeader({ username, password }: PasswordCredentials): string {
  return `Basic ${Buffer.from(`${username}:${password.reveal()}`).toString("base64")}`;
}

/** The error, when trying again is over: whoever needed the token must not begin anew. */
function exhausted(error: unknown): unknown {
  if (!(error instanceof SourceError) || !error.temporary) return error;
  const { code, message, hint, status, retryAfterMs, cause } = error;
  return new SourceError(code, message, { hint, status, retryAfterMs, cause });
}

/** As it is, in a URL, and in quotes. */
function spellingsOf(secret: string): readonly string[] {
  // Half a surrogate pair is sent as something else, and cannot be in a URL.
  const sent = Buffer.from(secret).toString();
  return [secret, sent, encodeURIComponent(sent), quote(secret, Infinity).slice(1, -1)];
}

/** `text`, which a `…` may have cut within `secret`. */
function withoutCut(text: string, secret: string): string {
  const longest = Math.min(secret.length - 1, text.length);
  for (let length = longest; length >= MIN_CONCEALED_LENGTH; length--) {
    const cut = `${secret.slice(0, length)}…`;
    if (text.includes(cut)) return text.replaceAll(cut, "[secret]…");
  }
  return text;
}

/** The token server's URL; a registry that is reached safely must not send credentials over http. */
function realmOf(challenge: Challenge, base: URL): URL {
  const realm = challenge.parameters.get("realm") ?? "";
  const refuse = (problem: string) =>
    new SourceError(
      "invalid-response",
      `registry ${base.host} names a token server ${quote(realm)} ${problem}`,
    );
  if (!URL.canParse(realm)) throw refuse("that is no URL");
  const url = new URL(realm);
  const allowed = url.protocol === "https:" || (url.protocol === "http:" && base.protocol === "http:");
  if (!allowed) throw refuse("that is not reached by https");
  if (isLocalOnly(url.hostname) && !isLoopback(base.hostname)) {
    throw refuse("that only this machine can mean");
  }
  for (const name of OURS_TO_ASK) url.searchParams.delete(name);
  return url;
}

/** @throws SourceError `invalid-response` */
export function parseTokenAnswer(bytes: Uint8Array, host: string, nowMs: number): Grant {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    // Without the cause, which would quote the answer: there may be a token in it.
    throw new SourceError("invalid-response", `token server ${host} did not answer JSON`);
  }
  const parsed = v.safeParse(tokenSchema, value);
  const token = parsed.success ? parsed.output.token || parsed.output.access_token : undefined;
  // A space or a line break in it could break out of the header.
  if (!token || !/^[\u0021-\u007e]+$/.test(token)) {
    throw new SourceError("invalid-response", `token server ${host} answered without a usable token`);
  }
  const seconds = parsed.success ? parsed.output.expires_in : undefined;
  const saidMs = seconds && seconds > 0 ? seconds * 1000 : DEFAULT_TOKEN_LIFETIME_MS;
  const lifetimeMs = Math.min(saidMs, MAX_TOKEN_LIFETIME_MS);
  const usableMs = Math.max(lifetimeMs - EXPIRY_MARGIN_MS, lifetimeMs / 2);
  return { header: `Bearer ${token}`, expiresAtMs: nowMs + usableMs };
}

export class Authorization {
  readonly #options: AuthorizationOptions;
  #grant: Grant | undefined;
  /** All tokens that there have been. */
  readonly #granted = new Set<string>();
  /** Of the further scopes, those that the token server has not refused. */
  #further: readonly string[];
  #renew: ((signal: AbortSignal) => Promise<Grant>) | undefined;
  #pending: Pending | undefined;
  #known: Promise<Credentials | undefined> | undefined;
  /** The same, when they are here: nobody can have been told of them before. */
  #told: Credentials | undefined;

  constructor(options: AuthorizationOptions) {
    this.#options = options;
    this.#further = options.furtherScopes ?? [];
  }

  /** The header for the next request; undefined until the registry has asked for one. */
  async current(signal: AbortSignal | undefined): Promise<string | undefined> {
    if (!this.#grant || performance.now() < this.#grant.expiresAtMs) return this.#grant?.header;
    return (await this.#renewed(signal)).header;
  }

  /**
   * Answers a 401. `used` is the header that was refused: when another request has already got a newer one,
   * that one is taken.
   * @throws SourceError `unauthorized`, `invalid-response`
   */
  async answer(
    response: HttpResponse,
    base: URL,
    used: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<string> {
    if (this.#grant && this.#grant.header !== used) return this.#grant.header;
    const challenges = parseChallenges(headerOf(response, "www-authenticate") ?? "");
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    const basic = challenges.find(({ scheme }) => scheme === "basic");
    if (bearer) this.#renew = (its) => this.#fetchToken(bearer, base, its);
    else if (basic) this.#renew = () => this.#basic();
    else {
      const schemes = challenges.map(({ scheme }) => quote(scheme, 40)).join(", ") || "nothing";
      const message = `registry ${this.#options.registry} asks for credentials of a kind FlameBox does not know: ${schemes}`;
      throw new SourceError("unauthorized", message, { status: 401 });
    }
    return (await this.#renewed(signal)).header;
  }

  /**
   * A message without what this registry was told in confidence: a server may say back what it has heard. Where the
   * message cuts that short, its start is taken out as well.
   */
  concealed(text: string): string {
    const credentials = this.#told;
    const secrets = [...this.#granted];
    if (credentials?.kind === "password") {
      const basic = basicHeader(credentials).replace("Basic ", "");
      secrets.push(basic, basic.replace(/=+$/, ""), credentials.password.reveal());
    } else if (credentials) secrets.push(credentials.token.reveal());
    let plain = text;
    for (const secret of secrets) {
      // What is very short is in every other word as well.
      if (secret.length < MIN_CONCEALED_LENGTH) continue;
      for (const spelling of spellingsOf(secret))
        plain = withoutCut(plain.replaceAll(spelling, "[secret]"), spelling);
    }
    return plain;
  }

  /** The error for a request that was refused although everything known was tried. */
  async refusal(detail: string): Promise<SourceError> {
    return this.#refused(await this.#credentials(), detail);
  }

  /** Asked once: a helper may take its time, or ask a person. */
  async #credentials(): Promise<Credentials | undefined> {
    const { keychain, registry, repository } = this.#options;
    this.#known ??= Promise.resolve(keychain?.credentialsFor(registry, { repository }));
    try {
      return (this.#told = await this.#known);
    } catch (error) {
      this.#known = undefined;
      throw error;
    }
  }

  #refused(credentials: Credentials | undefined, detail = ""): SourceError {
    const { registry, repository } = this.#options;
    const more = detail === "" ? "" : ` (${detail})`;
    if (!credentials) {
      const message = `registry ${registry} gives ${repository} to nobody without credentials${more}`;
      const hint = `look at the name; if it is private, log in with flamebox login ${registry}`;
      return new SourceError("unauthorized", message, { hint, status: 401 });
    }
    const whose =
      credentials.kind === "password" ? `of user ${quote(credentials.username, 80)}` : "(a token)";
    const message = `registry ${registry} refuses the credentials ${whose} for ${repository}${more}`;
    const hint = `look at the entry for ${registry} in ~/.docker/config.json, or log in again with flamebox login ${registry}`;
    return new SourceError("unauthorized", message, { hint, status: 401 });
  }

  /**
   * One renewal at a time, shared by all requests; the caller's signal ends only the caller's waiting, and the renewal
   * when nobody waits any more.
   */
  async #renewed(signal: AbortSignal | undefined): Promise<Grant> {
    const pending = (this.#pending ??= this.#begin());
    pending.waiting++;
    try {
      return await unlessAborted(pending.grant, signal);
    } finally {
      if (--pending.waiting === 0) {
        // Whoever comes next must not be told of an end that is not theirs.
        if (this.#pending === pending) this.#pending = undefined;
        pending.abort.abort();
      }
    }
  }

  #begin(): Pending {
    const abort = new AbortController();
    const renew = this.#renew as (signal: AbortSignal) => Promise<Grant>;
    const grant = renew(abort.signal).then((given) => {
      this.#granted.add(given.header.replace(/^\S+ /, ""));
      return (this.#grant = given);
    });
    // When all who waited were aborted, nobody is left to hear of a failure.
    grant.catch(() => {});
    return { grant, abort, waiting: 0 };
  }

  async #basic(): Promise<Grant> {
    const credentials = await this.#credentials();
    if (credentials?.kind !== "password") throw this.#refused(credentials);
    return { header: basicHeader(credentials), expiresAtMs: Infinity };
  }

  async #fetchToken(challenge: Challenge, base: URL, signal: AbortSignal): Promise<Grant> {
    const url = realmOf(challenge, base);
    const credentials = await this.#credentials();
    if (credentials?.kind === "registry-token") {
      return { header: `Bearer ${credentials.token.reveal()}`, expiresAtMs: Infinity };
    }
    const { repository, scopes = [`repository:${repository}:pull`], attempts } = this.#options;
    const ask = async (asked: readonly string[]) => {
      const fields = new URLSearchParams();
      const service = challenge.parameters.get("service");
      if (service !== undefined) fields.set("service", service);
      for (const scope of asked) fields.append("scope", scope);
      const { maxRetryAfterMs: maxDelayMs = 60_000 } = this.#options;
      const delayOf = (error: unknown) => (error instanceof SourceError ? error.retryAfterMs : undefined);
      const patience = { maxDelayMs, delayOf, signal, ...(attempts === undefined ? {} : { attempts }) };
      try {
        return await retry(() => this.#askTokenServer(url, fields, credentials, signal), patience);
      } catch (error) {
        throw exhausted(error);
      }
    };
    if (this.#further.length === 0) return await ask(scopes);
    try {
      return await ask([...scopes, ...this.#further]);
    } catch (error) {
      // Some servers refuse all for one that these credentials may not have.
      if (!(error instanceof SourceError) || error.code !== "unauthorized") throw error;
      const grant = await ask(scopes);
      this.#further = [];
      return grant;
    }
  }

  async #askTokenServer(
    realm: URL,
    fields: URLSearchParams,
    credentials: Exclude<Credentials, { kind: "registry-token" }> | undefined,
    signal: AbortSignal,
  ): Promise<Grant> {
    const url = new URL(realm);
    let form: URLSearchParams | undefined;
    let authorization: string | undefined;
    if (credentials?.kind === "identity-token") {
      // https://distribution.github.io/distribution/spec/auth/oauth/
      form = new URLSearchParams(fields);
      form.set("grant_type", "refresh_token");
      form.set("client_id", "flamebox");
      form.set("refresh_token", credentials.token.reveal());
    } else {
      for (const [name, value] of fields) url.searchParams.append(name, value);
      if (credentials) authorization = basicHeader(credentials);
    }
    const response = await this.#options.transport.send({ url, form, authorization, signal });
    if (response.status === 200) {
      const bytes = await readBody(response, MAX_TOKEN_ANSWER_BYTES, "the token answer", signal);
      return parseTokenAnswer(bytes, url.host, performance.now());
    }
    const detail = detailOf(await readErrorBody(response));
    if ([400, 401, 403].includes(response.status)) throw this.#refused(credentials, detail);
    const more = detail === "" ? "" : `: ${detail}`;
    const code = response.status === 429 ? "too-many-requests" : "registry-error";
    const retryAfterMs = parseRetryAfter(headerOf(response, "retry-after"), Date.now());
    const patient = (retryAfterMs ?? 0) <= (this.#options.maxRetryAfterMs ?? 60_000);
    throw new SourceError(code, `token server ${url.host} answered ${response.status}${more}`, {
      status: response.status,
      retryAfterMs,
      temporary: patient && (response.status >= 500 || response.status === 429),
    });
  }
}
