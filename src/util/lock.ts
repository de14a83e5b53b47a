/**
 * Locks between processes that die with their process.
 *
 * A lock is a file that says who holds it: pid, start time, boot id (see liveness.ts) and a token that no
 * other acquisition has. The file is written under another name and then linked, so it is complete from the
 * moment that it exists, and link() lets one in. A holder that was killed leaves its file; whoever comes next
 * takes it over.
 *
 * Taking over is where such locks go wrong: two processes see the same dead holder, the first one removes the
 * file and makes its own, the second one then removes *that*. Here the right to remove the file of token T is
 * itself a lock, `PATH.T`, made by the same rules. Its holder looks at the file again before it removes it,
 * and nobody else may remove it meanwhile: T's owner is dead, and there is one holder of `PATH.T`. Should that
 * one die as well, `PATH.T` is taken over in the same way.
 *
 * A process in another pid namespace looks dead from here, so use locks to avoid double work, not to be right.
 */
import { randomBytes } from "node:crypto";
import { link, open, rm, stat, unlink, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { temporaryName } from "./atomic-file.ts";
import { systemCode } from "./error.ts";
import { isAlive, ownIdentity } from "./liveness.ts";
import type { ProcessIdentity } from "./liveness.ts";

export interface Lock extends AsyncDisposable {
  readonly path: string;
  /** Lets the next one in; a second call does nothing. */
  release(): Promise<void>;
}

export interface LockOptions {
  /** Where the file is written before it is linked; the same file system. Default: beside the lock. */
  readonly tmpDir?: string | undefined;
}

export interface WaitOptions extends LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told once, when the lock is found taken. */
  readonly onWait?: ((holder: ProcessIdentity | undefined) => void) | undefined;
}

interface Holder {
  readonly identity: ProcessIdentity;
  readonly token: string;
}

const MAX_LOCK_BYTES = 4096;
const TOKEN = /^[0-9a-f]{16}$/;
const MIN_WAIT_MS = 5;
const MAX_WAIT_MS = 200;

function parseHolder(text: string): Holder | undefined {
  let value: Record<string, unknown> | null;
  try {
    value = JSON.parse(text) as Record<string, unknown> | null;
  } catch {
    return undefined;
  }
  const { pid, startTicks, bootId, token } = value ?? {};
  if (!Number.isSafeInteger(pid) || !Number.isSafeInteger(startTicks)) return undefined;
  if (typeof bootId !== "string" || typeof token !== "string" || !TOKEN.test(token)) return undefined;
  return { identity: { pid: pid as number, startTicks: startTicks as number, bootId }, token };
}

/**
 * Who holds the lock: undefined when there is no file. A file without sense in it (a power failure cut it
 * short) has a dead holder, and its inode number for a token.
 */
async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const handle = await open(path, "r");
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_LOCK_BYTES), 0, MAX_LOCK_BYTES, 0);
      const holder = parseHolder(buffer.toString("latin1", 0, bytesRead));
      if (holder) return holder;
      const { ino } = await stat(path);
      return { identity: { pid: 0, startTicks: -1, bootId: "" }, token: `inode-${ino}` };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** @returns whether the file now stands for this token */
async function linkHolder(path: string, token: string, tmpDir: string): Promise<boolean> {
  const temporary = temporaryName(tmpDir, "lock");
  try {
    await writeFile(temporary, JSON.stringify({ ...ownIdentity(), token }), { flag: "wx", mode: 0o600 });
    await link(temporary, path);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  } finally {
    // The lock is there or it is not: a second name that stays changes nothing about it.
    await rm(temporary, { force: true }).catch(() => {});
  }
}

/** Removes a dead holder's file. @returns false while another process is at it */
async function takeAway(path: string, token: string, options: LockOptions): Promise<boolean> {
  const right = await tryLock(`${path}.${token}`, options);
  if (!right) return false;
  try {
    if ((await readHolder(path))?.token === token) await unlinkIfThere(path);
    return true;
  } finally {
    await right.release();
  }
}

/** The lock, or undefined when a living process has it or is about to. */
export async function tryLock(path: string, options: LockOptions = {}): Promise<Lock | undefined> {
  const token = randomBytes(8).toString("hex");
  while (!(await linkHolder(path, token, options.tmpDir ?? dirname(path)))) {
    const holder = await readHolder(path);
    if (!holder) continue;
    if (isAlive(holder.identity)) return undefined;
    if (!(await takeAway(path, holder.token, options))) return undefined;
  }
  let released = false;
  const release = async () => {
    if (released) return;
    released = true;
    if ((await readHolder(path))?.token === token) await unlinkIfThere(path);
  };
  return { path, release, [Symbol.asyncDispose]: release };
}

/** Full jitter, so that eight waiting processes do not wake up together. */
function waitMsAfter(tries: number): number {
  const ceiling = Math.min(MAX_WAIT_MS, MIN_WAIT_MS * 2 ** Math.min(tries, 10));
  return MIN_WAIT_MS + Math.random() * ceiling;
}

/** Waits until the lock is free, then has it. Rejects with the signal's reason. */
export async function acquireLock(path: string, options: WaitOptions = {}): Promise<Lock> {
  const { signal, onWait } = options;
  for (let tries = 0; ; tries++) {
    signal?.throwIfAborted();
    const lock = await tryLock(path, options);
    if (lock) return lock;
    if (tries === 0) onWait?.((await readHolder(path))?.identity);
    await sleep(waitMsAfter(tries), undefined, { signal }).catch(() => signal?.throwIfAborted());
  }
}

/** Does `job` while it has the lock. */
export async function withLock<T>(path: string, options: WaitOptions, job: () => Promise<T>): Promise<T> {
  const lock = await acquireLock(path, options);
  try {
    return await job();
  } finally {
    await lock.release();
  }
}

/**
 * Waits until no living process holds the lock, without taking it.
 * @returns false when `timeoutMs` went by first
 */
export async function whenUnlocked(
  path: string,
  options: { readonly signal?: AbortSignal | undefined; readonly timeoutMs: number },
): Promise<boolean> {
  const deadline = performance.now() + options.timeoutMs;
  for (let tries = 0; ; tries++) {
    options.signal?.throwIfAborted();
    const holder = await readHolder(path);
    if (!holder || !isAlive(holder.identity)) return true;
    if (performance.now() > deadline) return false;
    await sleep(waitMsAfter(Math.min(tries, 3)), undefined, { signal: options.signal }).catch(() =>
      options.signal?.throwIfAborted(),
    );
  }
}

/** Clean-up: removes the lock's file if its holder is dead. @returns whether it did */
export async function removeIfDead(path: string, options: LockOptions = {}): Promise<boolean> {
  const holder = await readHolder(path);
  if (!holder || isAlive(holder.identity)) return false;
  return await takeAway(path, holder.token, options);
}
