/**
 * Certificates by registry, where Docker and podman keep them.
 * https://docs.docker.com/engine/security/certificates/
 *
 *     DIR/HOST[:PORT]/*.crt                 further authorities
 *     DIR/HOST[:PORT]/NAME.cert + NAME.key  what the registry is shown
 *
 * HOST is that of a reference, whose grammar knows no slash and no leading dot.
 */
import { constants } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../../util/error.ts";
import { quote } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import type { ClientCertificate } from "./transport.ts";

const MAX_FILE_BYTES = 1024 * 1024;
const MAX_FILES = 64;

export interface Certificates {
  /** PEM, all authorities together. */
  readonly ca?: string | undefined;
  readonly clientCertificate?: ClientCertificate | undefined;
}

function invalid(path: string, problem: string, hint?: string): SourceError {
  return new SourceError("invalid-settings", `certificate ${quote(path)}: ${problem}`, { hint });
}

/** @throws SourceError `invalid-settings` */
export async function readPem(path: string): Promise<string> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const found = await handle.stat();
    if (!found.isFile() || found.size > MAX_FILE_BYTES)
      throw invalid(path, `it is no file of at most ${MAX_FILE_BYTES} bytes`);
    const text = await handle.readFile("latin1");
    if (/-----BEGIN [A-Z0-9 ]+-----/.test(text)) return text;
    throw invalid(path, "there is no PEM in it", "convert it: openssl x509 -inform der -in FILE");
  } catch (error) {
    const code = systemCode(error);
    if (error instanceof SourceError || code === undefined) throw error;
    throw invalid(path, code === "ENOENT" ? "there is no such file" : `it cannot be read (${code})`);
  }
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir)).sort().slice(0, MAX_FILES);
  } catch (error) {
    // Docker's directory is often root's alone: what is there is not for us then.
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(systemCode(error) ?? "")) return [];
    throw error;
  }
}

/**
 * What the directories have for a registry; of several client certificates, the first.
 * @throws SourceError `invalid-settings`
 */
export async function findCertificates(dirs: readonly string[], registry: string): Promise<Certificates> {
  const authorities: string[] = [];
  let clientCertificate: ClientCertificate | undefined;
  for (const dir of dirs) {
    const own = join(dir, registry);
    const names = await namesIn(own);
    for (const name of names) {
      const path = join(own, name);
      if (name.endsWith(".crt")) authorities.push(await readPem(path));
      if (!name.endsWith(".cert") || clientCertificate !== undefined) continue;
      const key = `${name.slice(0, -".cert".length)}.key`;
      if (!names.includes(key))
        throw invalid(
          path,
          `its key ${key} is not beside it`,
          "authorities end in .crt, client certificates in .cert",
        );
      clientCertificate = { cert: await readPem(path), key: await readPem(join(own, key)) };
    }
  }
  return { ...(authorities.length === 0 ? {} : { ca: authorities.join("\n") }), clientCertificate };
}
