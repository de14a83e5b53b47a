/**
 * What is wrong with a certificate, theirs or ours, in words that say what to do. Codes are OpenSSL's, as Node
 * spells them: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
 */
import { messageOf, systemCode } from "../../util/error.ts";
import { printable } from "../../util/printable.ts";

export interface CertificateProblem {
  /** Follows "registry HOST". */
  readonly problem: string;
  readonly hint: string;
}

const MAX_NAMES = 8;

const AUTHORITY = "comes from an authority that is not trusted here";
const UNTRUSTED = new Map([
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "is self-signed"],
  ["SELF_SIGNED_CERT_IN_CHAIN", AUTHORITY],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", AUTHORITY],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", AUTHORITY],
  ["UNABLE_TO_GET_ISSUER_CERT", AUTHORITY],
]);

const RENEW = "its keeper has to renew it; look also whether this machine's clock is right";
const OTHERS = new Map<string, readonly [problem: string, hint: string]>([
  ["CERT_HAS_EXPIRED", ["has expired", RENEW]],
  ["CERT_NOT_YET_VALID", ["is not valid yet", "is this machine's clock right?"]],
  ["CERT_REVOKED", ["was revoked", "its keeper has to put another one in place"]],
  ["INVALID_CA", ["was issued by what is no authority", "its keeper has to send the right chain"]],
  ["CERT_SIGNATURE_FAILURE", ["has a signature that does not fit", "somebody may be in between"]],
]);

function trustHint(host: string, isRegistry: boolean): string {
  // What --insecure and client certificates say is of the registry alone; authorities are for all that it leads to.
  if (!isRegistry)
    return "put the authority's certificate among the system's, or where the registry's own is (ca.crt in certs.d)";
  return `put the authority's certificate in ~/.config/containers/certs.d/${host}/ca.crt (or in /etc/docker/certs.d), or among the system's, or use --insecure if you accept that anybody may answer in its place`;
}

/** The names that it was made for. They are whatever the other side wrote there. */
function namesIn(error: unknown): string[] {
  const cert: unknown = error instanceof Error && "cert" in error ? error.cert : undefined;
  const text =
    typeof cert === "object" && cert !== null && "subjectaltname" in cert ? cert.subjectaltname : undefined;
  if (typeof text !== "string") return [];
  return text
    .split(", ")
    .map((name) => printable(name.replace(/^(?:DNS|IP Address):/, ""), 80))
    .slice(0, MAX_NAMES);
}

/** Ours, that the other side does not accept or misses. */
function refusedByServer(code: string, message: string): string | undefined {
  if (/CERTIFICATE_REQUIRED/.test(code) || /certificate required/.test(message))
    return "wants a client certificate";
  if (
    /_ALERT_(?:BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_(?:EXPIRED|REVOKED|UNKNOWN)|ACCESS_DENIED)/.test(code)
  )
    return "does not accept the client certificate";
  if (/_ALERT_HANDSHAKE_FAILURE/.test(code))
    return "breaks off the handshake: it may want a client certificate";
  return undefined;
}

/** Nobody of those that were asked vouches for the certificate. */
export function isUntrusted(error: unknown): boolean {
  return UNTRUSTED.has(systemCode(error) ?? "");
}

/** Undefined when certificates are not what went wrong. `host` has its port. */
export function certificateProblem(
  error: unknown,
  host: string,
  isRegistry = true,
): CertificateProblem | undefined {
  const code = systemCode(error) ?? "";
  const untrusted = UNTRUSTED.get(code);
  if (untrusted !== undefined)
    return { problem: `cannot be trusted: its certificate ${untrusted}`, hint: trustHint(host, isRegistry) };
  const other = OTHERS.get(code);
  if (other !== undefined)
    return { problem: `cannot be trusted: its certificate ${other[0]}`, hint: other[1] };
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    const names = namesIn(error);
    const made = names.length === 0 ? "another host name" : names.join(", ");
    const hint = "use a name that the certificate has, or let its keeper make one for this name";
    return { problem: `cannot be trusted: its certificate was made for ${made}`, hint };
  }
  const refused = refusedByServer(code, messageOf(error));
  if (refused === undefined) return undefined;
  if (!isRegistry)
    return { problem: refused, hint: "client certificates are for the registry itself, at its own port" };
  return {
    problem: refused,
    hint: `put client.cert and client.key in ~/.config/containers/certs.d/${host} (or in /etc/docker/certs.d)`,
  };
}
