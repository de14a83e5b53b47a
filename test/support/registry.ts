/**
 * A real registry (Debian's `docker-registry`) on a free loopback port with its storage in a temporary
 * directory. The object owns the process and the directory:
 *
 *     await using registry = await startRegistry({ auth: "basic", tls: true });
 *     await registry.push(layoutDir, "latest", "library/alpine:3");
 */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface RegistryOptions {
  readonly auth?: "none" | "basic";
  /** Serves https: with a certificate of its own, made for `localhost`, 127.0.0.1 and ::1, or with these files. */
  readonly tls?: boolean | { readonly certificate: string; readonly key: string };
}

export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly port: number;
  readonly scheme: "http" | "https";
  /** PEM of the certificate, with `tls`. */
  readonly ca: string | undefined;
  readonly username: string;
  readonly password: string;
  /** Where the registry keeps its files: `docker/registry/v2/…`. */
  readonly storageDir: string;
  /** Pushes `oci:layoutDir:tag` as `host/name` (`name` with its tag) through skopeo. */
  push(layoutDir: string, tag: string, name: string, extraArgs?: readonly string[]): Promise<void>;
}

const USERNAME = "ali";
const PASSWORD = "open-sesame";
/** bcrypt of PASSWORD at cost 4, so that a test does not wait for it. */
const HTPASSWD = "$2y$04$1STh3RLA5HROMiPbxsybyuNjx1I1p.o8V6XZzN3wBelRX1zRDgWEi";

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port was given");
  return address.port;
}

/** A self-signed certificate for loopback names: the paths of certificate and key in `dir`. */
export async function makeCertificate(dir: string): Promise<{ certificate: string; key: string }> {
  const certificate = join(dir, "cert.pem");
  const key = join(dir, "key.pem");
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"];
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  await run("openssl", ["req", ...kind, "-keyout", key, "-out", certificate, ...subject]);
  return { certificate, key };
}

function answers(scheme: "http" | "https", port: number): Promise<boolean> {
  const request = scheme === "https" ? httpsRequest : httpRequest;
  return new Promise((resolve) => {
    const asked = request({
      host: "127.0.0.1",
      port,
      path: "/v2/",
      rejectUnauthorized: false,
      timeout: 2000,
      agent: false,
    });
    asked.on("response", (response) => {
      response.resume();
      const known = response.statusCode === 200 || response.statusCode === 401;
      resolve(known && response.headers["docker-distribution-api-version"] === "registry/2.0");
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve(false));
    asked.end();
  });
}

interface Configuration {
  readonly dir: string;
  readonly port: number;
  readonly basic: boolean;
  readonly certificate: { certificate: string; key: string } | undefined;
}

/** https://distribution.github.io/distribution/about/configuration/ (JSON is YAML). */
function configurationOf({ dir, port, basic, certificate }: Configuration): string {
  return JSON.stringify({
    version: "0.1",
    log: { level: "error", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(dir, "storage") }, delete: { enabled: true } },
    http: {
      addr: `127.0.0.1:${port}`,
      secret: "only-for-tests",
      ...(certificate ? { tls: { certificate: certificate.certificate, key: certificate.key } } : {}),
    },
    ...(basic ? { auth: { htpasswd: { realm: "flamebox-test", path: join(dir, "htpasswd") } } } : {}),
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}

/** Starts the program until it answers; undefined when it ended by itself (the port was taken meanwhile). */
async function launch(
  dir: string,
  scheme: "http" | "https",
  port: number,
): Promise<ChildProcess | undefined> {
  // The registry ends with the test's process, however that ends.
  const program = ["--pdeathsig", "KILL", "docker-registry", "serve", join(dir, "config.yml")];
  const child = spawn("setpriv", program, { stdio: "ignore" });
  // Set apart from `exitCode`, which stays null when the program cannot be started at all.
  let failure: Error | undefined;
  child.once("error", (error) => (failure = error));
  for (let tries = 0; tries < 600; tries++) {
    if (failure) throw new Error(`docker-registry cannot be started: ${failure.message}`);
    if (child.exitCode === 127) throw new Error("docker-registry is not installed");
    if (child.exitCode !== null) return undefined;
    if (await answers(scheme, port)) return child;
    await sleep(50);
  }
  await stop(child);
  throw new Error("docker-registry did not answer within 30 seconds");
}

async function launchOnFreePort(
  dir: string,
  options: RegistryOptions,
): Promise<{ child: ChildProcess; port: number; ca: string | undefined }> {
  const basic = options.auth === "basic";
  const certificate = options.tls === true ? await makeCertificate(dir) : options.tls || undefined;
  if (basic) await writeFile(join(dir, "htpasswd"), `${USERNAME}:${HTPASSWD}\n`);
  for (let tries = 0; tries < 5; tries++) {
    const port = await freePort();
    await writeFile(join(dir, "config.yml"), configurationOf({ dir, port, basic, certificate }));
    const child = await launch(dir, certificate ? "https" : "http", port);
    if (child) return { child, port, ca: certificate && (await readFile(certificate.certificate, "utf8")) };
  }
  throw new Error("docker-registry ended at once, five times");
}

export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const dir = await mkdtemp(join(tmpdir(), "flamebox-registry-"));
  try {
    const { child, port, ca } = await launchOnFreePort(dir, options);
    const killNow = () => child.kill("SIGKILL");
    process.once("exit", killNow);
    const host = `127.0.0.1:${port}`;
    const credentials = options.auth === "basic" ? ["--dest-creds", `${USERNAME}:${PASSWORD}`] : [];
    return {
      host,
      port,
      scheme: options.tls ? "https" : "http",
      ca,
      username: USERNAME,
      password: PASSWORD,
      storageDir: join(dir, "storage"),
      async push(layoutDir, tag, name, extraArgs = []) {
        const target = ["--dest-tls-verify=false", ...credentials];
        const places = [`oci:${layoutDir}:${tag}`, `docker://${host}/${name}`];
        await run("skopeo", ["--insecure-policy", "copy", "-q", ...target, ...extraArgs, ...places]);
      },
      async [Symbol.asyncDispose]() {
        process.off("exit", killNow);
        await stop(child);
        await rm(dir, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    throw error;
  }
}
