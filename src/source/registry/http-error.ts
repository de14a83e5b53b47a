/**
 * What went wrong, in words: network errors and HTTP statuses become `SourceError`s that know whether
 * another try makes sense.
 */
import { messageOf, systemCode } from "../../util/error.ts";
import { printable } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import { certificateProblem } from "./certificate-problem.ts";

/** Sockets that broke, servers that fell silent, resolvers that were busy: the next try may succeed. */
const TEMPORARY = new Set([
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EAI_AGAIN",
  "UND_ERR_SOCKET",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "UND_ERR_RES_CONTENT_LENGTH_MISMATCH",
]);

const TIMEOUTS = new Map([
  ["ETIMEDOUT", "the connection timed out"],
  ["UND_ERR_CONNECT_TIMEOUT", "no connection within the time limit"],
  ["UND_ERR_HEADERS_TIMEOUT", "no answer within the time limit"],
  ["UND_ERR_BODY_TIMEOUT", "the answer stopped half-way"],
]);

const UNREACHABLE = new Map([
  ["ENOTFOUND", "there is no host of this name"],
  ["EAI_AGAIN", "the name server does not answer"],
  ["ECONNREFUSED", "connection refused"],
  ["ECONNRESET", "connection reset"],
  ["ECONNABORTED", "connection aborted"],
  ["EPIPE", "connection closed"],
  ["UND_ERR_SOCKET", "connection closed early"],
  ["UND_ERR_RES_CONTENT_LENGTH_MISMATCH", "connection closed early"],
  ["EHOSTUNREACH", "no route to the host"],
  ["ENETUNREACH", "no route to the network"],
  ["EACCES", "the connection is not permitted here"],
  ["EPERM", "the connection is not permitted here"],
]);

/** Not an alert: only who speaks TLS sends one. */
function isTlsFailure(error: unknown): boolean {
  const code = systemCode(error) ?? "";
  if (code.includes("_ALERT_") || messageOf(error).includes(" alert ")) return false;
  return code === "EPROTO" || code.startsWith("ERR_SSL_");
}

/** A server that does not speak TLS on this port: it answers something else, or hangs up during the handshake. */
export function isNotTls(error: unknown): boolean {
  if (isTlsFailure(error)) return true;
  return systemCode(error) === "ECONNRESET" && messageOf(error).includes("before secure TLS connection");
}

/** No connection came about, because nobody listens on this port or what is before it lets nobody through. */
export function isNobodyThere(error: unknown): boolean {
  const code = systemCode(error) ?? "";
  return code === "ECONNREFUSED" || code === "ETIMEDOUT" || code === "UND_ERR_CONNECT_TIMEOUT";
}

/**
 * The error for what undici threw while talking to `host` (with its port).
 * @param isRegistry it is no host that the registry has led to
 */
export function networkError(error: unknown, host: string, isRegistry = true): SourceError {
  if (error instanceof SourceError) return error;
  const code = systemCode(error) ?? "";
  const temporary = TEMPORARY.has(code);
  const certificate = certificateProblem(error, host, isRegistry);
  if (certificate !== undefined) {
    const { problem, hint } = certificate;
    const whose = isRegistry ? `registry ${host}` : `${host}, where the registry leads to,`;
    return new SourceError("tls-error", `${whose} ${problem}`, { cause: error, hint });
  }
  const refusal = /^Proxy response \((\d{3})\)/.exec(messageOf(error))?.[1];
  if (refusal !== undefined || messageOf(error).includes("Proxy Authentication Required")) {
    const message = `the proxy does not connect to registry ${host}: it answers ${refusal ?? "407"}`;
    const hint =
      "look at HTTPS_PROXY, with USER:PASSWORD@ where the proxy wants it, or name the host in NO_PROXY";
    return new SourceError("registry-unreachable", message, { cause: error, hint });
  }
  if (isTlsFailure(error)) {
    const message = `registry ${host} does not speak TLS on this port`;
    const hint = "use --insecure for a registry that speaks plain http";
    return new SourceError("tls-error", message, { cause: error, hint });
  }
  const timeout = TIMEOUTS.get(code);
  if (timeout !== undefined) {
    const message = `registry ${host} is too slow: ${timeout}`;
    return new SourceError("registry-timeout", message, { cause: error, temporary });
  }
  const unreachable = UNREACHABLE.get(code);
  if (unreachable !== undefined) {
    const isClosed = code === "ECONNRESET" || code === "UND_ERR_SOCKET";
    const or = isClosed ? "; a registry that wants a client certificate may do this, too" : "";
    const hint = `look at the name in the reference, the network and the proxy${or}`;
    return new SourceError("registry-unreachable", `registry ${host} cannot be reached: ${unreachable}`, {
      cause: error,
      hint,
      temporary,
    });
  }
  const message = `registry ${host} gave no usable answer: ${printable(messageOf(error))}`;
  return new SourceError("invalid-response", message, { cause: error, temporary });
}

/** RFC 9110 section 10.2.3: seconds, or a date. Undefined for anything else. */
export function parseRetryAfter(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^[0-9]{1,15}$/.test(header)) return Number(header) * 1000;
  const date = /^[A-Za-z]{3,9},? /.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}

/**
 * What an error body says, in one printable line: `MANIFEST_UNKNOWN: manifest unknown`.
 * https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes
 */
export function detailOf(body: string): string {
  try {
    const value = JSON.parse(body) as { errors?: { code?: unknown; message?: unknown }[]; details?: unknown };
    const first = Array.isArray(value.errors) ? value.errors[0] : undefined;
    const parts = [first?.code, first?.message, first ? undefined : value.details];
    const words = parts.filter((part) => typeof part === "string" && part !== "");
    return printable(words.join(": "));
  } catch {
    // Not JSON: a proxy's page, perhaps.
  }
  const line = body.trim().split("\n", 1)[0] ?? "";
  return line.startsWith("<") ? "" : printable(line);
}
