/**
 * A directory that is all a VMM sees of the host's file system, and a user whom nothing else belongs to. Only root can
 * make one.
 *
 *     dataDir/jails/jail.PID.TICKS.X/   0700, root's              PID, TICKS: who made it
 *         …/root/                       0700, the machine's       the VMM's `/`: its sockets and
 *             f1 f2 …                   hard links to what it may use, in the same file system as all of dataDir
 *
 * What is lent stays root's, readable for the machines' group: a machine comes to what lies in its jail and to nothing
 * else, and others do not come there. What is given becomes the machine's. Where files cannot be linked, they are
 * copied. What a killed process left is removed by the next command.
 */
import { constants } from "node:fs";
import type { Stats } from "node:fs";
import {
  chmod,
  chown,
  copyFile,
  lchown,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rm,
  stat,
} from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { CleanupStack } from "../../util/cleanup.ts";
import { messageOf, systemCode } from "../../util/error.ts";
import { collectAbandoned, ownedName } from "../../util/owned-folder.ts";
import { MachineError } from "../machine.ts";
import type { Place } from "../place.ts";
import { collectCgroups } from "./cgroup.ts";
import type { MachineUser } from "./users.ts";
import { collectUsers, takeUser } from "./users.ts";

const PREFIX = "jail";
/** A file is replaced when two processes publish the same contents at once: hardly ever twice in a row. */
const LEND_TRIES = 16;
/** Other file systems, file systems without links, and files with too many. */
const NO_LINK: readonly string[] = ["EXDEV", "EPERM", "EOPNOTSUPP", "EMLINK"];

function jailsDir(dataDir: string): string {
  return join(dataDir, "jails");
}

export class Jail implements Place {
  /** Of this jail alone. */
  readonly outerDir: string;
  readonly dir: string;
  readonly user: MachineUser;
  readonly #handle: FileHandle;
  readonly #owned: AsyncDisposable;
  readonly #running = new Set<Promise<unknown>>();
  #count = 0;
  #disposed: Promise<void> | undefined;

  constructor(outerDir: string, dir: string, parts: JailParts) {
    this.outerDir = outerDir;
    this.dir = dir;
    this.user = parts.user;
    this.#handle = parts.handle;
    this.#owned = parts.owned;
  }

  reach(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`;
  }

  /** @param name where it shall lie; default: a name that no other has */
  async lend(path: string, name = this.#nextName()): Promise<string> {
    return await this.#whileThere(async () => await this.#lend(path, name));
  }

  async #lend(path: string, name: string): Promise<string> {
    const target = join(this.dir, name);
    // Others publish the same contents under this name meanwhile, in files that are nobody's but root's at first.
    for (let tries = 0; tries < LEND_TRIES; tries++) {
      const source = await realpath(path);
      const stats = await stat(source);
      if (!this.#isReadable(stats)) {
        await chown(source, stats.uid, this.user.gid);
        await chmod(source, (stats.mode & 0o700) | 0o040);
      }
      try {
        if (!(await this.#link(source, target))) return await this.#copy(source, name, stats.mode);
        if (this.#isReadable(await lstat(target))) return name;
        await rm(target);
      } catch (error) {
        // A file whose last name was taken while it was looked up cannot be linked, though another has the name.
        if (systemCode(error) !== "ENOENT") throw error;
      }
    }
    throw new MachineError("jail-refused", `${path} is replaced again and again`, { temporary: true });
  }

  #isReadable({ gid, mode }: Stats): boolean {
    return (mode & 0o004) !== 0 || (gid === this.user.gid && (mode & 0o040) !== 0);
  }

  async #copy(source: string, name: string, mode: number): Promise<string> {
    const target = join(this.dir, name);
    await copyFile(source, target, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    // The directory is the machine's: what has the name now may be a link of its making.
    await using copy = await open(target, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    await copy.chmod((mode & 0o100) | 0o400);
    await copy.chown(this.user.uid, this.user.gid);
    return name;
  }

  /** @throws MachineError `jail-refused` where files cannot be linked: what is written has to reach the file */
  async give(path: string, name = this.#nextName()): Promise<string> {
    return await this.#whileThere(async () => await this.#give(path, name));
  }

  async #give(path: string, name: string): Promise<string> {
    await chown(path, this.user.uid, this.user.gid);
    if (await this.#link(path, join(this.dir, name))) return name;
    throw new MachineError("jail-refused", `${path} cannot be linked into ${this.dir}`, {
      hint: "set FLAMEBOX_HOME to a folder of a file system that has hard links",
    });
  }

  async adopt(name: string): Promise<void> {
    await this.#whileThere(async () => await lchown(join(this.dir, name), this.user.uid, this.user.gid));
  }

  /** A file of the machine's own. */
  async write(name: string, text: string): Promise<void> {
    await this.#whileThere(async () => {
      await using file = await open(join(this.dir, name), "wx", 0o600);
      await file.writeFile(text);
      await file.chown(this.user.uid, this.user.gid);
    });
  }

  /** Its machine may end at any time; the directory is removed when nobody is putting anything into it any more. */
  async #whileThere<T>(job: () => Promise<T>): Promise<T> {
    if (this.#disposed !== undefined)
      throw new MachineError("jail-refused", "the machine has ended, and its directory is gone");
    const running = job();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  #nextName(): string {
    this.#count += 1;
    return `f${this.#count}`;
  }

  async #link(path: string, target: string): Promise<boolean> {
    await mkdir(dirname(target), { recursive: true, mode: 0o755 });
    try {
      await link(path, target);
      return true;
    } catch (error) {
      if (NO_LINK.includes(systemCode(error) ?? "")) return false;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#remove();
    await this.#disposed;
  }

  async #remove(): Promise<void> {
    await Promise.allSettled(this.#running);
    await this.#owned[Symbol.asyncDispose]();
  }
}

interface JailParts {
  readonly user: MachineUser;
  readonly handle: FileHandle;
  readonly owned: AsyncDisposable;
}

/**
 * @param inner where in the jail's own directory the VMM's `/` shall be: `root`
 * @throws MachineError `no-machine-user`, `jail-refused`
 */
export async function makeJail(dataDir: string, inner = "root"): Promise<Jail> {
  await using cleanup = new CleanupStack();
  const outerDir = join(jailsDir(dataDir), ownedName(PREFIX));
  const dir = join(outerDir, inner);
  try {
    await makePrivateDir(jailsDir(dataDir));
    const user = cleanup.use(await takeUser());
    cleanup.defer(async () => await rm(outerDir, { recursive: true, force: true }));
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await chown(dir, user.uid, user.gid);
    const handle = await open(dir, "r");
    cleanup.defer(async () => await handle.close());
    return new Jail(outerDir, dir, { user, handle, owned: cleanup.move() });
  } catch (error) {
    if (error instanceof MachineError) throw error;
    throw new MachineError("jail-refused", `a machine cannot be jailed: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Removes what killed processes left: their machines have ended with them. */
export async function collectJails(dataDir: string): Promise<void> {
  // Nobody else has any.
  if (process.geteuid?.() !== 0) return;
  const any = await readdir(jailsDir(dataDir)).catch(() => []);
  if (any.length === 0) return;
  await Promise.all([collectCgroups(), collectUsers()]);
  await collectAbandoned(jailsDir(dataDir), PREFIX);
}
