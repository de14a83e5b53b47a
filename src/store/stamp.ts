/**
 * Whether a file is still the one that was looked at last, without reading it.
 *
 *     publish, or verify ─► stamp: size, inode, mtime, ctime ─► start: the same? nobody has written to it since
 *                                                                 └─ not the same ─► read, and held against its sums
 *
 * Whatever writes to a file, or puts another one in its place, changes one of the four; ctime cannot be set back. What
 * a disk does to the bits behind the file system's back changes none: `checkStore` reads everything, and finds it.
 * Stamps are derived and not synced: one that is missing or wrong costs a reading of its file.
 */
import { open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { temporaryName } from "../util/atomic-file.ts";
import { systemCode } from "../util/error.ts";
import { PIECE_BYTES } from "../util/piece.ts";
import type { Store } from "./layout.ts";

/** Four numbers; undefined when there is no file. */
async function identityOf(path: string): Promise<string | undefined> {
  try {
    const { size, ino, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return `${size} ${ino} ${mtimeNs} ${ctimeNs}\n`;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function stampIn(stampPath: string): Promise<string | undefined> {
  try {
    return await readFile(stampPath, "latin1");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** The file is there and has not been touched since it was stamped. */
export async function isAsStamped(path: string, stampPath: string): Promise<boolean> {
  const [identity, stamp] = await Promise.all([identityOf(path), stampIn(stampPath)]);
  return identity !== undefined && identity === stamp;
}

/** Best effort: without a stamp the next one reads the file. */
async function write(store: Store, stampPath: string, stamp: string): Promise<void> {
  const temporary = temporaryName(store.workspace, "stamp");
  try {
    await writeFile(temporary, stamp, { flag: "wx", mode: 0o600 });
    await rename(temporary, stampPath);
  } catch {
    await rm(temporary, { force: true });
  }
}

/** Says of a file that has just been published that it is as it should be. */
export async function stampFile(store: Store, path: string, stampPath: string): Promise<void> {
  const identity = await identityOf(path);
  if (identity !== undefined) await write(store, stampPath, identity);
}

/**
 * Reads the file and holds it against its sums, one a piece of PIECE_BYTES.
 * @returns where the first wrong piece begins; undefined when all are right
 */
export async function firstDamage(path: string, sums: Uint32Array): Promise<number | undefined> {
  const handle = await open(path, "r");
  try {
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    for (const [piece, sum] of sums.entries()) {
      const position = piece * PIECE_BYTES;
      const { bytesRead } = await handle.read(buffer, 0, PIECE_BYTES, position);
      if (crc32(buffer.subarray(0, bytesRead)) !== sum) return position;
    }
    return undefined;
  } finally {
    await handle.close();
  }
}

/** As `firstDamage`; a file that is right is stamped, unless somebody touched it meanwhile. */
export async function verifyAndStamp(
  store: Store,
  path: string,
  stampPath: string,
  sums: Uint32Array,
): Promise<number | undefined> {
  const before = await identityOf(path);
  const damage = await firstDamage(path, sums);
  const after = await identityOf(path);
  if (damage === undefined && before !== undefined && before === after) await write(store, stampPath, before);
  return damage;
}
