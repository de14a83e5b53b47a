/** Whether a registry accepts credentials. https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#determining-support */
import { SourceError } from "../error.ts";
import { RegistryClient } from "./client.ts";
import type { RegistrySourceOptions } from "./registry.ts";
import { discard } from "./transport.ts";

/** @throws SourceError `unauthorized` when they are refused; others when the registry cannot be asked */
export async function checkLogin(
  registry: string,
  options: RegistrySourceOptions,
  signal?: AbortSignal,
): Promise<void> {
  await using client = new RegistryClient({ ...options, registry, repository: "", scopes: [] });
  try {
    await client.getWithRetry(
      {
        path: "",
        signal,
        what: "its API",
        notFound: "registry-error",
        accepted: [200],
      },
      async (response) => discard(response),
    );
  } catch (error) {
    if (!(error instanceof SourceError) || error.code !== "unauthorized") throw error;
    const message = `registry ${registry} refuses this user name and password`;
    const hint = "look at both; many registries want a token instead of the password";
    throw new SourceError("unauthorized", message, { hint, status: error.status, cause: error });
  }
}
