/** A certificate authority of a test's own, whom nobody trusts but those that are told of it. */
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** PEM, and where it is. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
  readonly certPath: string;
  readonly keyPath: string;
}

export interface Subject {
  /** `/CN=name`. */
  readonly subject: string;
  /** `DNS:registry.test,IP:127.0.0.1`. */
  readonly names?: string;
  readonly days?: number;
}

export interface Authority extends Pair {
  /** Its files are `NAME.crt` and `NAME.key` in the authority's directory. */
  issue(name: string, subject: Subject): Promise<Pair>;
}

async function makePair(dir: string, name: string, subject: Subject, authority?: Pair): Promise<Pair> {
  const path = (ending: string) => join(dir, `${name}.${ending}`);
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const files = ["-keyout", path("key"), "-out", path("csr")];
  await run("openssl", ["req", ...kind, "-subj", subject.subject, ...files]);
  const extensions = [`basicConstraints=CA:${authority ? "FALSE" : "TRUE"}`];
  if (subject.names !== undefined) extensions.push(`subjectAltName=${subject.names}`);
  await writeFile(path("ext"), extensions.join("\n"));
  const signer = authority
    ? ["-CA", authority.certPath, "-CAkey", authority.keyPath, "-CAcreateserial"]
    : ["-signkey", path("key")];
  const request = ["x509", "-req", "-in", path("csr"), "-days", `${subject.days ?? 2}`];
  await run("openssl", [...request, "-extfile", path("ext"), ...signer, "-out", path("crt")]);
  const [certPath, keyPath] = [path("crt"), path("key")];
  return { cert: await readFile(certPath, "utf8"), key: await readFile(keyPath, "utf8"), certPath, keyPath };
}

export async function makeAuthority(dir: string, name = "authority"): Promise<Authority> {
  const own = await makePair(dir, name, { subject: `/CN=An authority called ${name}` });
  return { ...own, issue: (issued, subject) => makePair(dir, issued, subject, own) };
}
