/**
 * What it takes to talk to a registry: where to ask, with which credentials, certificates and proxies.
 *
 *     reference ─► settings ─► endpoints: mirrors …, the registry itself
 *                                 each: credentials, certs.d, proxies ─► source or target
 */
import { homedir } from "node:os";
import { join } from "node:path";
import type { Keychain } from "../auth/credentials.ts";
import { passwordCredentials } from "../auth/credentials.ts";
import { loadDockerConfig } from "../auth/docker-config.ts";
import { dockerConfigKeychain, firstOf, fixedKeychain } from "../auth/keychain.ts";
import type { Reference } from "../reference/reference.ts";
import { findCertificates, readPem } from "../source/registry/certificates.ts";
import type { RegistrySourceOptions } from "../source/registry/registry.ts";
import { endpointsOf, loadRegistrySettings } from "../source/registry/settings.ts";
import type { Endpoint, RegistrySettings } from "../source/registry/settings.ts";
import type { RegistryAccess } from "./options.ts";

function settingsPaths(): string[] {
  return [join(homedir(), ".config", "flamebox", "registries.json"), "/etc/flamebox/registries.json"];
}

function certificateDirs(): string[] {
  const own = join(homedir(), ".config", "containers", "certs.d");
  return [own, "/etc/containers/certs.d", "/etc/docker/certs.d"];
}

function dockerConfigPath({ dockerConfig }: Pick<RegistryAccess, "dockerConfig">): string {
  return dockerConfig ?? join(homedir(), ".docker", "config.json");
}

/** A file with credentials. */
export interface LoginFile {
  readonly path: string;
  /** Entries may be for a part of a registry. */
  readonly hasNamespaces: boolean;
}

/** In the order in which they are asked. Logins go to the first. */
export function loginFiles(options: RegistryAccess): LoginFile[] {
  const { authFile, containersAuthFiles, dockerConfig } = options;
  if (dockerConfig === null) return [];
  const podmans = containersAuthFiles ?? [join(homedir(), ".config", "containers", "auth.json")];
  return [
    ...(authFile === undefined ? [] : [{ path: authFile, hasNamespaces: true }]),
    { path: dockerConfigPath(options), hasNamespaces: false },
    ...podmans.map((path) => ({ path, hasNamespaces: true })),
  ];
}

/** Everybody who may know credentials, in the order in which they are asked; first what the options say. */
async function keychainOf(reference: Reference, options: RegistryAccess): Promise<Keychain> {
  const { credentials } = options;
  const explicit =
    credentials &&
    fixedKeychain(reference.registry, passwordCredentials(credentials.username, credentials.password));
  const keychains = explicit ? [explicit] : [];
  for (const { path, hasNamespaces } of loginFiles(options))
    keychains.push(dockerConfigKeychain(await loadDockerConfig(path, { hasNamespaces })));
  return firstOf(...keychains);
}

/** @throws SourceError `registry-blocked`, `invalid-settings` */
export async function endpointsFor(reference: Reference, options: RegistryAccess): Promise<Endpoint[]> {
  const settings = await loadRegistrySettings(options.registrySettings ?? settingsPaths());
  return endpointsOf(reference, settings);
}

/** The place itself, which is what is pushed to and logged in to. */
export async function ownEndpoint(reference: Reference, options: RegistryAccess): Promise<Endpoint> {
  const endpoints = await endpointsFor(reference, options);
  return endpoints.find(({ isMirror }) => !isMirror) as Endpoint;
}

/**
 * Each place that an image may have come from, as an entry of its own without mirrors: what is recorded is where it
 * was found, which a mirror or another location may have been.
 */
function foundPlaces(settings: readonly RegistrySettings[]): RegistrySettings[] {
  const own = settings.map((one) => ({ ...one, mirrors: [] }));
  const at = (access: Omit<RegistrySettings, "prefix">, place: string) => ({
    ...access,
    mirrors: [],
    prefix: place,
    location: undefined,
  });
  // What is blocked is so under the name that it is asked by.
  const moved = settings.flatMap((one) =>
    one.location === undefined || one.blocked === true ? [] : [at(one, one.location)],
  );
  const mirrors = settings.flatMap((one) => (one.mirrors ?? []).map((mirror) => at(mirror, mirror.location)));
  return [...own, ...moved, ...mirrors];
}

/**
 * Where an image was found before, to ask there again.
 * @throws SourceError `registry-blocked`, `invalid-settings`
 */
export async function originEndpoint(reference: Reference, options: RegistryAccess): Promise<Endpoint> {
  const settings = await loadRegistrySettings(options.registrySettings ?? settingsPaths());
  const [endpoint] = endpointsOf(reference, foundPlaces(settings));
  return endpoint as Endpoint;
}

/**
 * @param isNamed whether it is the registry that the command names: what the options say of certificates that nobody
 *   vouches for, and the credentials in them, are of that one, and no other is told
 * @throws AuthError; SourceError `invalid-settings`
 */
export async function connectionTo(
  endpoint: Endpoint,
  options: RegistryAccess,
  isNamed: boolean = !endpoint.isMirror,
): Promise<RegistrySourceOptions> {
  const { reference } = endpoint;
  const found = await findCertificates(options.certificateDirs ?? certificateDirs(), reference.registry);
  const own = endpoint.ca === undefined ? undefined : await readPem(endpoint.ca);
  const authorities = [options.ca, own, found.ca].filter((pem) => pem !== undefined);
  const { cert, key } = endpoint;
  const given =
    cert === undefined || key === undefined
      ? undefined
      : { cert: await readPem(cert), key: await readPem(key) };
  return {
    keychain: await keychainOf(reference, isNamed ? options : { ...options, credentials: undefined }),
    insecure: endpoint.insecure || (isNamed && options.insecure === true),
    ca: authorities.length === 0 ? undefined : authorities.join("\n"),
    trustStore: options.trustStore,
    clientCertificate: given ?? found.clientCertificate,
    proxies: options.proxies,
  };
}
