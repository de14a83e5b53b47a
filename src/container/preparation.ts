/**
 * What a machine is told before it is saved as a template: the container that most people run, without its image, its
 * command and its user. So all that this container is made of is in the template, and none of it is anybody's.
 */
import { randomBytes } from "node:crypto";
import type { Configuration, PreparationRequest } from "../agent/client.ts";
import type { MachineShape } from "../machine/machine.ts";
import { TEMPLATE_MAC } from "../machine/machine.ts";
import { generate } from "../runtime-spec/generate.ts";
import { usualGuestNetwork } from "../network/user-mode.ts";
import type { Host } from "./host.ts";
import { limitWithin } from "./sizing.ts";

const MIB = 1 << 20;
/** Twelve digits, as a container's id; what it names is not seen from inside. */
const NOBODY = "0".repeat(12);

type PreparationHost = Pick<Host, "driver" | "kernel">;

/** Undefined for a container that brings a disk of its own along, which the machine must not have seen before. */
export function preparationFor(
  shape: MachineShape,
  { driver, kernel }: PreparationHost,
): PreparationRequest | undefined {
  if (shape.disk === "used") return undefined;
  const share = { memoryLimitBytes: limitWithin(shape.memoryMib, shape.cpus) * MIB };
  const request = { containerId: NOBODY, hostname: NOBODY, share, kernelRelease: kernel.release };
  const config = generate({ Cmd: ["true"] }, request);
  const { base: baseDevice, scratch: scratchDevice } = driver.diskNames;
  return { baseDevice, scratchDevice, config };
}

/** Each machine is told its own after the restore; what is then as it was here need not be done again. */
export function usualConfiguration(shape: MachineShape): Configuration {
  return {
    timeMs: Date.now(),
    entropy: randomBytes(64),
    hostname: NOBODY,
    machineId: "0".repeat(32),
    network: shape.network ? { mac: TEMPLATE_MAC, ...usualGuestNetwork() } : undefined,
  };
}
