/**
 * The authorities that this machine's keeper trusts, where Go's programs (docker, skopeo) look for them.
 *
 *     TLS ─► Node's own authorities, certs.d, settings ─► nobody vouches? ─► the system's as well, once more
 *
 * Parsing the hundred and more certificates of a system costs a tenth of a second, and nearly all registries have
 * theirs from an authority that Node knows. So what the system has is read when a certificate could not be verified,
 * and never before.
 * https://github.com/golang/go/blob/go1.23.0/src/crypto/x509/root_unix.go, root_linux.go
 */
import { X509Certificate } from "node:crypto";
import { constants } from "node:fs";
import { open, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { systemCode } from "../../util/error.ts";

/** Absolute paths. What cannot be read is passed over, as others do. */
export interface TrustStore {
  /** The first that is there counts. Default: where Linux distributions have their bundles. */
  readonly files?: readonly string[] | undefined;
  /** All files in all of them count. Default: where distributions have single certificates. */
  readonly dirs?: readonly string[] | undefined;
  /** Counts beside the others. */
  readonly extraFile?: string | undefined;
}

const BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt", // Debian, Arch, Gentoo
  "/etc/pki/tls/certs/ca-bundle.crt", // Fedora
  "/etc/ssl/ca-bundle.pem", // openSUSE
  "/etc/pki/tls/cacert.pem", // OpenELEC
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
  "/etc/ssl/cert.pem", // Alpine
];
const DIRS = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/** Debian's bundle has 220 KB. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const MAX_TOTAL_BYTES = 8 * 1024 * 1024;
const MAX_FILES = 1024;
const MAX_CERTIFICATES = 2048;

/** As Go has it: no TRUSTED CERTIFICATE, whose uses OpenSSL limits behind its end. */
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

async function readText(path: string): Promise<string | undefined> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const found = await handle.stat();
    return found.isFile() && found.size <= MAX_FILE_BYTES ? await handle.readFile("latin1") : undefined;
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}

/** But for links within the directory: by their hashes OpenSSL finds what is there under its name as well. */
async function pathsIn(dir: string): Promise<string[]> {
  const paths: string[] = [];
  try {
    for (const entry of (await readdir(dir, { withFileTypes: true })).slice(0, 2 * MAX_FILES)) {
      const path = join(dir, entry.name);
      if (entry.isSymbolicLink() && !(await readlink(path)).includes("/")) continue;
      if (entry.isFile() || entry.isSymbolicLink()) paths.push(path);
    }
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
  }
  return paths.slice(0, MAX_FILES);
}

/** OpenSSL stops at what it cannot read, without a word about those behind it. */
function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

const bare = (pem: string): string => pem.replace(/\s+/g, "");

/** PEM, one certificate each, without those that Node has anyway. */
export async function systemAuthorities(store: TrustStore = {}): Promise<string[]> {
  const { files = BUNDLES, dirs = DIRS, extraFile } = store;
  const known = new Set(rootCertificates.map(bare));
  const found: string[] = [];
  let leftBytes = MAX_TOTAL_BYTES;
  const take = (text: string): void => {
    leftBytes -= text.length;
    for (const pem of leftBytes < 0 ? [] : (text.match(CERTIFICATE) ?? [])) {
      if (found.length === MAX_CERTIFICATES) return;
      if (known.has(bare(pem))) continue;
      known.add(bare(pem));
      if (isCertificate(pem)) found.push(pem);
    }
  };
  const extra = extraFile === undefined ? undefined : await readText(extraFile);
  if (extra !== undefined) take(extra);
  for (const path of files) {
    const text = await readText(path);
    if (text === undefined) continue;
    take(text);
    break;
  }
  for (const dir of dirs) {
    for (const path of await pathsIn(dir)) {
      if (leftBytes < 0) break;
      const text = files.includes(path) ? undefined : await readText(path);
      if (text !== undefined) take(text);
    }
  }
  return found;
}
