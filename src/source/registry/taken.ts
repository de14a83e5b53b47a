/** What a registry says that it has taken, which should be what it was sent. */
import { algorithmOf, isDigest } from "../../reference/digest.ts";
import type { Digest } from "../../reference/digest.ts";
import { quote } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import { headerOf } from "./transport.ts";
import type { HttpResponse } from "./transport.ts";

/** Whether `Docker-Content-Digest`, where there is one, is `digest`, or of another algorithm. */
export function isTakenAs(digest: Digest, response: Pick<HttpResponse, "headers">): boolean {
  const said = headerOf(response, "docker-content-digest");
  if (said === undefined || said === digest) return true;
  // Docker's registry names what it has by SHA-256, by whatever else it was sent.
  return isDigest(said) && algorithmOf(said) !== algorithmOf(digest);
}

/** The error for when it is not. @param what was sent, in words: `blob sha256:…` */
export function takenAsAnother(what: string, response: HttpResponse): SourceError {
  const said = headerOf(response, "docker-content-digest") ?? "";
  const message = `registry ${response.url.host} took ${what} as ${quote(said, 80)}`;
  return new SourceError("digest-mismatch", message, {
    hint: "the registry or something before it damages what is sent; push again or tell its keeper",
  });
}
