/** What a driver's user may want of Firecracker besides a machine; each part maps to a resource of api/. */
import type { ApiClient } from "./api/client.ts";
import { putBalloon } from "./api/balloon.ts";
import type { Balloon } from "./api/balloon.ts";
import type { LogLevel } from "./api/logger.ts";
import { putLogger } from "./api/logger.ts";
import type { RateLimiter, TokenBucket } from "./api/rate-limiter.ts";
import { putSerial } from "./api/serial.ts";
import { requireFeature } from "./features.ts";
import type { FirecrackerVersion } from "./version.ts";

export interface FirecrackerTuning {
  /** Which processor the guest sees: `T2`, `T2S`, `T2CL` (Intel), `T2A` (AMD); default: the host's. */
  readonly cpuTemplate?: string | undefined;
  /** Takes a guest with a driver for it. */
  readonly balloon?: Balloon | undefined;
  readonly limits?: RateLimits | undefined;
  /** Metrics can be read from the machine. */
  readonly metrics?: boolean | undefined;
  /** Of what Firecracker says in diagnostics; default `Warning`. */
  readonly logLevel?: LogLevel | undefined;
}

export interface RateLimits {
  readonly base?: RateLimiter | undefined;
  readonly scratch?: RateLimiter | undefined;
  /** What the guest receives, and what it sends. */
  readonly received?: RateLimiter | undefined;
  readonly sent?: RateLimiter | undefined;
  readonly entropy?: RateLimiter | undefined;
  /** What the guest writes to its console; from 1.16 on. */
  readonly console?: TokenBucket | undefined;
}

/** What each VMM is told, whether its machine boots or is restored. @throws MachineError `firecracker-feature`, … */
export async function tuneVmm(
  api: ApiClient,
  version: FirecrackerVersion,
  { logLevel, limits }: FirecrackerTuning,
): Promise<void> {
  if (logLevel !== undefined) await putLogger(api, { level: logLevel });
  if (limits?.console === undefined) return;
  requireFeature(version, "serialRateLimiter");
  await putSerial(api, { rate_limiter: limits.console });
}

/** What is part of a machine, and of what is saved of it. @throws MachineError `firecracker-feature`, `balloon-refused` */
export async function tuneMachine(
  api: ApiClient,
  version: FirecrackerVersion,
  { balloon }: FirecrackerTuning,
): Promise<void> {
  if (balloon === undefined) return;
  if (balloon.free_page_reporting === true) requireFeature(version, "balloonReporting");
  await putBalloon(api, balloon);
}
