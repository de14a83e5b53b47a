/**
 * Device nodes and who may use them. A machine has no device of its host: what can be given to a container are
 * the devices of the machine's own kernel, whose numbers Linux has assigned.
 * https://www.kernel.org/doc/html/latest/admin-guide/devices.html
 */
import { nearest } from "../util/nearest.ts";
import { quote } from "../util/printable.ts";
import type { DeviceNode, DeviceRule } from "./config.ts";
import { invalidOption } from "./error.ts";

export interface Device {
  /** In the machine: `/dev/fuse`. */
  readonly path: string;
  /** In the container; default: the same. */
  readonly target?: string | undefined;
  /** Of `r`, `w`, `m`; default all three. */
  readonly access?: string | undefined;
}

/** `c 10:229 rwm` in three. `undefined` numbers are all. */
export interface DeviceCgroupRule {
  readonly type: "a" | "b" | "c";
  readonly major?: number | undefined;
  readonly minor?: number | undefined;
  readonly access: string;
}

export interface DeviceOptions {
  readonly devices?: readonly Device[] | undefined;
  readonly deviceCgroupRules?: readonly DeviceCgroupRule[] | undefined;
  readonly privileged?: boolean | undefined;
}

interface Numbers {
  readonly major: number;
  readonly minor: number;
  readonly fileMode: number;
}

/** Besides those that every container has. All are character devices. */
const MACHINE_DEVICES: Readonly<Record<string, Numbers>> = {
  "/dev/fuse": { major: 10, minor: 229, fileMode: 0o666 },
  "/dev/hwrng": { major: 10, minor: 183, fileMode: 0o600 },
  "/dev/kmsg": { major: 1, minor: 11, fileMode: 0o644 },
};

/** Those of every container, which may be named again with other rights. */
const COMMON_DEVICES: Readonly<Record<string, Numbers>> = {
  "/dev/null": { major: 1, minor: 3, fileMode: 0o666 },
  "/dev/zero": { major: 1, minor: 5, fileMode: 0o666 },
  "/dev/full": { major: 1, minor: 7, fileMode: 0o666 },
  "/dev/random": { major: 1, minor: 8, fileMode: 0o666 },
  "/dev/urandom": { major: 1, minor: 9, fileMode: 0o666 },
  "/dev/tty": { major: 5, minor: 0, fileMode: 0o666 },
};

const rule = (type: "b" | "c", major: number | undefined, minor: number | undefined, access: string) => ({
  allow: true,
  type,
  ...(major !== undefined && { major }),
  ...(minor !== undefined && { minor }),
  access,
});

const PTY_SLAVES = 136;

/** Nothing, then what Docker and runc let every container have: nodes of any device, and the use of these. */
const DEFAULT_RULES: readonly DeviceRule[] = [
  { allow: false, access: "rwm" },
  rule("c", undefined, undefined, "m"),
  rule("b", undefined, undefined, "m"),
  ...Object.values(COMMON_DEVICES).map(({ major, minor }) => rule("c", major, minor, "rwm")),
  // console, ptmx, and the terminals of devpts
  rule("c", 5, 1, "rwm"),
  rule("c", 5, 2, "rwm"),
  rule("c", PTY_SLAVES, undefined, "rwm"),
];

const MAX_DEVICES = 64;
const ACCESS = /^(?!.*(.).*\1)[rwm]{1,3}$/;

function checkAccess(access: string, what: string): string {
  if (!ACCESS.test(access))
    throw invalidOption(`the access of ${what} is ${quote(access)}, not some of r, w, m`);
  return access;
}

function numbersOf(path: string): Numbers {
  // `constructor` is no device, though every object has one.
  const table = [MACHINE_DEVICES, COMMON_DEVICES].find((devices) => Object.hasOwn(devices, path));
  const numbers = table?.[path];
  if (numbers !== undefined) return numbers;
  const known = Object.keys(MACHINE_DEVICES);
  const near = nearest(path, known);
  throw invalidOption(
    `the device ${quote(path)} cannot be given to a container: it runs in a machine, which has no devices of this host`,
    near === undefined ? `the machine's own are ${known.join(", ")}` : `did you mean ${near}?`,
  );
}

function nodeOf({ path, target = path }: Device): DeviceNode {
  const numbers = numbersOf(path);
  if (!/^\/(?!.*\/\.{1,2}(?:\/|$))[^\0]{1,4094}$/.test(target))
    throw invalidOption(`the device ${path} cannot be put at ${quote(target)}, which is no absolute path`);
  return { path: target, type: "c", ...numbers, uid: 0, gid: 0 };
}

/** @throws RuntimeSpecError `invalid-option` */
export function devicesOf(options: DeviceOptions): { nodes: DeviceNode[]; rules: DeviceRule[] } {
  const { devices = [], deviceCgroupRules = [], privileged = false } = options;
  if (devices.length > MAX_DEVICES || deviceCgroupRules.length > MAX_DEVICES)
    throw invalidOption(`at most ${MAX_DEVICES} devices can be given to a container`);
  const paths = privileged ? Object.keys(MACHINE_DEVICES).map((path): Device => ({ path })) : [];
  const nodes = new Map(
    [...paths, ...devices].map((device) => [device.target ?? device.path, nodeOf(device)]),
  );
  // The runtime makes those itself, and would fail over a second one.
  for (const path of Object.keys(COMMON_DEVICES)) nodes.delete(path);
  const given = devices.map(({ path, access = "rwm" }) => {
    const { major, minor } = numbersOf(path);
    return rule("c", major, minor, checkAccess(access, path));
  });
  const further = deviceCgroupRules.map(({ type, major, minor, access }): DeviceRule => {
    checkAccess(access, "a device rule");
    return { ...rule("c", major, minor, access), type };
  });
  const all: DeviceRule[] = [{ allow: true, access: "rwm" }];
  return { nodes: [...nodes.values()], rules: privileged ? all : [...DEFAULT_RULES, ...given, ...further] };
}
