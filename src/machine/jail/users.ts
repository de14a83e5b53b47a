/**
 * A user of its own for each machine, who owns nothing else and whom no password file knows. A number is held as long as
 * its machine lives, by a lock that dies with the process that took it; so two processes of one host never give the
 * same one, whatever homes they have.
 *
 *     /run/flamebox-users/UID      who has it (util/lock.ts)
 *
 * The numbers are beyond those that distributions give to people, services, and users of containers (up to 0x6fffffff).
 * The group is the same for all: files that machines share (an image, a template) are readable for it and for nobody
 * else, and a machine reaches only those of them that lie in its jail.
 */
import { randomInt } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { removeIfDead, tryLock } from "../../util/lock.ts";
import { requirePrivate } from "../../util/private-dir.ts";
import { MachineError } from "../machine.ts";

export const MACHINE_GROUP = 1_900_000_000;
const FIRST_USER = MACHINE_GROUP + 1;
export const USER_COUNT = 65_536;
/** A number in a thousand is taken on a host with many machines: more than a few tries mean something else. */
const MAX_TRIES = 64;
export const USERS_DIR = "/run/flamebox-users";

export interface MachineUser extends AsyncDisposable {
  readonly uid: number;
  readonly gid: number;
}

export interface UserRange {
  readonly dir: string;
  readonly count: number;
}

/** @throws MachineError `no-machine-user`, `runtime-dir-unsafe` */
export async function takeUser(
  { dir, count }: UserRange = { dir: USERS_DIR, count: USER_COUNT },
): Promise<MachineUser> {
  await makePrivateDir(dir);
  await requirePrivate(dir);
  // Anywhere, and from there on: most tries find a number that has not been used lately.
  const first = randomInt(count);
  for (let tries = 0; tries < Math.min(count, MAX_TRIES); tries++) {
    const uid = FIRST_USER + ((first + tries) % count);
    const lock = await tryLock(join(dir, String(uid)));
    if (lock !== undefined) return { uid, gid: MACHINE_GROUP, [Symbol.asyncDispose]: () => lock.release() };
  }
  throw new MachineError("no-machine-user", `all users for machines are taken (see ${dir})`, {
    temporary: true,
  });
}

/** Frees the numbers of killed processes, whose machines have ended with them. */
export async function collectUsers(dir: string = USERS_DIR): Promise<void> {
  for (const name of await readdir(dir).catch(() => []))
    if (/^\d+$/.test(name)) await removeIfDead(join(dir, name));
}
