/** What FlameBox's options take of Firecracker beyond its floor (version.ts), and since when it is there. */
import { MachineError } from "../machine.ts";
import type { FirecrackerVersion } from "./version.ts";

export const FEATURES = {
  /** `PUT /serial` takes a rate limiter. */
  serialRateLimiter: { major: 1, minor: 16, what: "a limit of what the guest writes to its console" },
  /** `PUT /balloon` takes `free_page_reporting`. */
  balloonReporting: { major: 1, minor: 14, what: "a balloon whose guest reports free pages" },
} as const;

export type Feature = keyof typeof FEATURES;

export function hasFeature(
  { major, minor }: Pick<FirecrackerVersion, "major" | "minor">,
  feature: Feature,
): boolean {
  const since = FEATURES[feature];
  return major > since.major || (major === since.major && minor >= since.minor);
}

/** @throws MachineError `firecracker-feature` */
export function requireFeature(version: FirecrackerVersion, feature: Feature): void {
  if (hasFeature(version, feature)) return;
  const { major, minor, what } = FEATURES[feature];
  throw new MachineError(
    "firecracker-feature",
    `${what} takes Firecracker ${major}.${minor}, and this is ${version.text}`,
  );
}
