/** Whether this process can jail machines: what that takes, looked up in /proc. */
import { access, constants, readFile } from "node:fs/promises";
import { dirname, resolve, sep } from "node:path";
import { MACHINE_GROUP, USERS_DIR, USER_COUNT } from "./users.ts";

/** Numbers of linux/capability.h. */
const CAPABILITIES = {
  CAP_CHOWN: 0,
  CAP_DAC_OVERRIDE: 1,
  CAP_FOWNER: 3,
  CAP_KILL: 5,
  CAP_SETGID: 6,
  CAP_SETUID: 7,
  CAP_SYS_CHROOT: 18,
} as const;
/** The jailer makes devices and mounts. */
const JAILER_CAPABILITIES = { CAP_SYS_ADMIN: 21, CAP_MKNOD: 27 } as const;

/** What stands in the way, as a half sentence; undefined when nothing does. @param jailer whether Firecracker's makes them */
export async function jailProblem(
  dataDir: string,
  { jailer }: { readonly jailer: boolean },
): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return NOT_ROOT;
  const [status, uidMap, mounts] = await Promise.all(
    ["status", "uid_map", "mountinfo"].map(async (name) => await readFile(`/proc/self/${name}`, "latin1")),
  );
  const capabilities = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status ?? "")?.[1] ?? "0"}`);
  const needed = jailer ? { ...CAPABILITIES, ...JAILER_CAPABILITIES } : CAPABILITIES;
  for (const [name, bit] of Object.entries(needed))
    if ((capabilities & (1n << BigInt(bit))) === 0n) return `this process lacks ${name}`;
  if (!isMapped(uidMap ?? "", MACHINE_GROUP, USER_COUNT + 1))
    return "this user namespace has no users for machines";
  if (!(await isWritable(dirname(USERS_DIR)))) return `${dirname(USERS_DIR)} cannot be written`;
  if (jailer && mountOptions(mounts ?? "", resolve(dataDir)).includes("nodev"))
    return `${dataDir} is mounted with nodev`;
  return undefined;
}

async function isWritable(dir: string): Promise<boolean> {
  return await access(dir, constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** Where root cannot jail, that is worth a word; others never could. */
export const NOT_ROOT = "this user is not root";

/** Lines of `first inside, first outside, how many`. */
export function isMapped(uidMap: string, first: number, count: number): boolean {
  return uidMap.split("\n").some((line) => {
    const [inside = Number.NaN, , size = 0] = line.trim().split(/\s+/).map(Number);
    return inside <= first && first + count <= inside + size;
  });
}

/** Of the mount that a path is on: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html */
export function mountOptions(mountinfo: string, path: string): string[] {
  let best = { point: "", options: [] as string[] };
  for (const line of mountinfo.split("\n")) {
    const [, , , , text = "", options = ""] = line.split(" ");
    const point = text.replace(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
    const holds = path === point || path.startsWith(point.endsWith(sep) ? point : `${point}${sep}`);
    // A later one on the same point lies over the earlier.
    if (point !== "" && holds && point.length >= best.point.length)
      best = { point, options: options.split(",") };
  }
  return best.options;
}
