/** Maps to `GET /version`. */
import { looseObject, safeParse, string } from "valibot";
import { MachineError } from "../../machine.ts";
import { parseVersion } from "../version.ts";
import type { FirecrackerVersion } from "../version.ts";
import type { ApiClient } from "./client.ts";

const answer = looseObject({ firecracker_version: string() });

/** @throws MachineError `firecracker-version` */
export async function getVersion(api: ApiClient): Promise<FirecrackerVersion> {
  const found = safeParse(
    answer,
    await api.send({ method: "GET", path: "/version", refusal: "firecracker-version" }),
  );
  const version = found.success ? parseVersion(found.output.firecracker_version) : undefined;
  if (version !== undefined) return version;
  throw new MachineError("firecracker-version", "Firecracker does not say which version it is");
}
