/**
 * Credential helpers: programs `docker-credential-NAME` that keep secrets for Docker.
 * https://github.com/docker/docker-credential-helpers#development
 *
 *     server name ──stdin──► docker-credential-NAME get ──stdout──► {"Username", "Secret"}
 *     {"ServerURL", "Username", "Secret"} ──stdin──► docker-credential-NAME store
 *     server name ──stdin──► docker-credential-NAME erase
 */
import { spawn } from "node:child_process";
import * as v from "valibot";
import { systemCode } from "../util/error.ts";
import { printable } from "../util/printable.ts";
import { Secret, passwordCredentials } from "./credentials.ts";
import type { Credentials, PasswordCredentials } from "./credentials.ts";
import { AuthError } from "./error.ts";

const MAX_OUTPUT_BYTES = 64 * 1024;
const DEFAULT_TIMEOUT_MS = 30_000;
/** How long what the program has printed may be on its way after its end. */
const DRAIN_MS = 500;
/** What a helper prints, and ends with 1, when it has nothing for the server. */
const NOT_FOUND = "credentials not found in native keychain";
/** The user name that marks an identity token. */
const TOKEN_USERNAME = "<token>";

const answerSchema = v.object({ Username: v.string(), Secret: v.string() });

export interface HelperOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
  /** The program's environment; the caller's by default. Its PATH is where the program is looked for. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
}

/**
 * Runs the program to its end. What it is told and what it prints are secrets: nothing of it goes into an error.
 */
function runHelper(
  program: string,
  action: "get" | "store" | "erase",
  input: string,
  options: HelperOptions,
): Promise<Ended> {
  const { signal, env, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, [action], { stdio: ["pipe", "pipe", "ignore"], ...(env ? { env } : {}) });
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      clearTimeout(drain);
      signal?.removeEventListener("abort", onAbort);
      child.kill("SIGKILL");
      // A grandchild may hold the pipe open for ever after the program has gone.
      child.stdout.destroy();
      finish();
    };
    let drain: NodeJS.Timeout | undefined;
    const end = (exitCode: number | null) =>
      settle(() => resolve({ exitCode, stdout: Buffer.concat(chunks).toString("utf8") }));
    const fail = (problem: string, hint?: string) =>
      settle(() =>
        reject(
          new AuthError("credential-helper-failed", `credential helper ${program} ${problem}`, { hint }),
        ),
      );
    const onAbort = () => settle(() => reject(signal?.reason as Error));
    const timer = setTimeout(() => fail(`did not answer within ${timeoutMs} ms`), timeoutMs);
    signal?.addEventListener("abort", onAbort);
    child.on("error", (error) => {
      if (systemCode(error) === "ENOENT")
        fail("is not installed", "install it, or remove it from config.json");
      else fail(`cannot be started (${systemCode(error) ?? "unknown error"})`);
    });
    child.stdout.on("data", (chunk: Buffer) => {
      sizeBytes += chunk.length;
      if (sizeBytes > MAX_OUTPUT_BYTES) fail(`printed more than ${MAX_OUTPUT_BYTES} bytes`);
      else chunks.push(chunk);
    });
    child.on("close", end);
    child.on("exit", (exitCode) => (drain = setTimeout(() => end(exitCode), DRAIN_MS)));
    // The program may end without reading.
    child.stdin.on("error", () => {});
    child.stdin.end(`${input}\n`);
  });
}

/** The answer of a helper that ended with 0. @throws AuthError `credential-helper-failed` */
export function parseHelperAnswer(program: string, stdout: string): Credentials {
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch {
    value = undefined;
  }
  const parsed = v.safeParse(answerSchema, value);
  if (!parsed.success) {
    const message = `credential helper ${program} did not print a Username and a Secret`;
    throw new AuthError("credential-helper-failed", message);
  }
  const { Username, Secret: secret } = parsed.output;
  if (Username === TOKEN_USERNAME) return { kind: "identity-token", token: new Secret(secret) };
  return passwordCredentials(Username, secret);
}

/**
 * Asks `docker-credential-NAME`; undefined when it has nothing for this server.
 * @throws AuthError `credential-helper-failed`
 */
export async function askHelper(
  name: string,
  server: string,
  options: HelperOptions = {},
): Promise<Credentials | undefined> {
  options.signal?.throwIfAborted();
  const program = `docker-credential-${name}`;
  const { exitCode, stdout } = await runHelper(program, "get", server, options);
  if (exitCode === 0) return parseHelperAnswer(program, stdout);
  if (stdout.trim() === NOT_FOUND) return undefined;
  const ending = exitCode === null ? "was killed" : `ended with exit code ${exitCode}`;
  const hint = `try: echo ${printable(server)} | ${program} get`;
  throw new AuthError("credential-helper-failed", `credential helper ${program} ${ending}`, { hint });
}

async function tell(
  name: string,
  action: "store" | "erase",
  input: string,
  options: HelperOptions,
): Promise<void> {
  options.signal?.throwIfAborted();
  const program = `docker-credential-${name}`;
  const { exitCode, stdout } = await runHelper(program, action, input, options);
  if (exitCode === 0 || (action === "erase" && stdout.trim() === NOT_FOUND)) return;
  const ending = exitCode === null ? "was killed" : `ended with exit code ${exitCode}`;
  const message = `credential helper ${program} ${ending} when it was to ${action} credentials`;
  throw new AuthError("credential-helper-failed", message, { hint: `look at ${program} itself` });
}

/** @throws AuthError `credential-helper-failed` */
export async function storeInHelper(
  name: string,
  server: string,
  { username, password }: PasswordCredentials,
  options: HelperOptions = {},
): Promise<void> {
  const input = JSON.stringify({ ServerURL: server, Username: username, Secret: password.reveal() });
  await tell(name, "store", input, options);
}

/** What is not there is erased as well. @throws AuthError `credential-helper-failed` */
export async function eraseInHelper(
  name: string,
  server: string,
  options: HelperOptions = {},
): Promise<void> {
  await tell(name, "erase", server, options);
}
