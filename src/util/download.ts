/**
 * A file over HTTPS, checked while it comes: its size has a bound and its bytes a digest. For the few files that do not
 * come from a registry. Plain http is for loopback.
 */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { get as httpGet } from "node:http";
import { get as httpsGet } from "node:https";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { FlameBoxError, messageOf } from "./error.ts";

const MAX_REDIRECTS = 5;
/** Without a byte for so long, nobody is there any more. */
const IDLE_MS = 30_000;
const LOOPBACK: readonly string[] = ["localhost", "127.0.0.1", "[::1]"];

export interface DownloadOptions {
  readonly url: string;
  /** Must not exist; is gone again when this fails. Synced. */
  readonly path: string;
  /** Hexadecimal. */
  readonly sha256: string;
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((done: number, total: number | undefined) => void) | undefined;
}

/** @throws FlameBoxError `download-failed`, `digest-mismatch`; the signal's reason */
export async function download(options: DownloadOptions): Promise<void> {
  const { url, path, sha256, signal } = options;
  const failed = (why: string, cause?: unknown) =>
    new FlameBoxError("download-failed", `cannot fetch ${url}: ${why}`, { cause });
  try {
    const answer = await followed(url, signal);
    const found = await save(answer, options);
    if (found === sha256) return;
    await rm(path, { force: true });
    throw new FlameBoxError(
      "digest-mismatch",
      `what came from ${url} has the SHA-256 ${found}, not ${sha256}`,
    );
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof FlameBoxError && error.code === "digest-mismatch") throw error;
    throw failed(messageOf(error), error);
  }
}

async function followed(from: string, signal: AbortSignal | undefined): Promise<IncomingMessage> {
  let url = new URL(from);
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const isLocal = url.protocol === "http:" && LOOPBACK.includes(url.hostname);
    if (url.protocol !== "https:" && !isLocal) throw new Error(`${url.protocol} is not https`);
    const answer = await ask(url, signal);
    const { statusCode = 0, headers } = answer;
    if (statusCode === 200) return answer;
    answer.destroy();
    if (statusCode < 300 || statusCode > 399 || headers.location === undefined)
      throw new Error(`the server answered with status ${statusCode}`);
    url = new URL(headers.location, url);
  }
  throw new Error(`more than ${MAX_REDIRECTS} redirects`);
}

async function ask(url: URL, signal: AbortSignal | undefined): Promise<IncomingMessage> {
  const get = url.protocol === "https:" ? httpsGet : httpGet;
  return await new Promise((resolve, reject) => {
    const asked = get(url, { signal, headers: { "user-agent": "flamebox" } }, resolve);
    asked.setTimeout(IDLE_MS, () => asked.destroy(new Error(`no answer for ${IDLE_MS / 1_000} s`)));
    asked.once("error", reject);
  });
}

/** @returns the SHA-256 of what came */
async function save(
  answer: IncomingMessage,
  { path, maxBytes, signal, onBytes }: DownloadOptions,
): Promise<string> {
  const announced = Number(answer.headers["content-length"] ?? Number.NaN);
  const total = Number.isSafeInteger(announced) ? announced : undefined;
  const hash = createHash("sha256");
  let done = 0;
  const checked = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      done += chunk.length;
      hash.update(chunk);
      onBytes?.(done, total);
      next(done > maxBytes ? new Error(`it has more than ${maxBytes} bytes`) : null, chunk);
    },
  });
  try {
    const file = createWriteStream(path, { flags: "wx", mode: 0o600, flush: true });
    await pipeline(answer, checked, file, { signal });
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
  return hash.digest("hex");
}
