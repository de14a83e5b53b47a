/**
 * Firecracker's own release, fetched: the one that the suites of test/firecracker/ are run on, by its digest, which is
 * part of FlameBox. The project publishes it beside the archive (`….tgz.sha256.txt`).
 *
 *     firecracker-v1.16.1-x86_64.tgz ─► dataDir/firecracker/1.16.1/firecracker jailer      appears whole, by rename
 */
import { createReadStream } from "node:fs";
import { chmod, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Transform, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { TarReader } from "../../formats/tar/reader.ts";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { download } from "../../util/download.ts";
import { messageOf } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import type { OnProgress } from "../../util/progress.ts";
import { silent } from "../../util/progress.ts";
import { collectUnfinished, removeWhole, unfinishedName } from "../../util/unfinished.ts";
import { MachineError } from "../machine.ts";
import type { InstalledFirecracker, Release } from "./installed.ts";
import { FIRECRACKER_RELEASE, installedFirecracker, releasesDir } from "./installed.ts";

/** The archive has some 7 MB, and debug information beside the programs. */
const MAX_ARCHIVE_BYTES = 64 * 2 ** 20;
const MAX_UNPACKED_BYTES = 512 * 2 ** 20;
const PROGRAMS = ["firecracker", "jailer"] as const;

export interface InstallOptions {
  readonly paths: Paths;
  /** Fetch it again. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** For tests. */
  readonly release?: Release | undefined;
}

/** @throws MachineError `firecracker-unavailable` when it could not be fetched, or is not what it should be */
export async function installFirecracker(options: InstallOptions): Promise<InstalledFirecracker> {
  const { paths, force = false, signal, onProgress = silent, release = FIRECRACKER_RELEASE } = options;
  const label = `Firecracker ${release.version}`;
  const found = force ? undefined : await installedFirecracker(paths, release);
  if (found !== undefined) {
    onProgress({ id: "firecracker", label, state: "cached" });
    return found;
  }
  const parent = releasesDir(paths);
  await makePrivateDir(parent);
  await collectUnfinished(parent);
  const work = join(parent, unfinishedName());
  await mkdir(work, { mode: 0o700 });
  try {
    await fetchInto(work, release, { signal, onProgress, label });
    await removeWhole(parent, release.version);
    await rename(work, join(parent, release.version));
  } catch (error) {
    onProgress({ id: "firecracker", label, state: "failed" });
    signal?.throwIfAborted();
    throw unavailable(paths, release, error);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  await removeOthers(parent, release.version);
  onProgress({ id: "firecracker", label, state: "done" });
  const dir = join(parent, release.version);
  return { version: release.version, path: join(dir, "firecracker"), jailerPath: join(dir, "jailer") };
}

function unavailable(paths: Paths, { version, url }: Release, cause: unknown): MachineError {
  const place = join(releasesDir(paths), version);
  return new MachineError("firecracker-unavailable", `Firecracker was not installed: ${messageOf(cause)}`, {
    hint: `fetch ${url} where there is a network, and put the programs firecracker and jailer of it into ${place}`,
    cause,
  });
}

interface FetchOptions {
  readonly label: string;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal | undefined;
}

async function fetchInto(work: string, release: Release, options: FetchOptions): Promise<void> {
  const { label, onProgress, signal } = options;
  const { url, sha256 } = release;
  const archive = join(work, "archive.tgz");
  await download({
    url,
    path: archive,
    sha256,
    maxBytes: MAX_ARCHIVE_BYTES,
    signal,
    onBytes: (current, total) =>
      onProgress({
        id: "firecracker",
        label,
        state: "running",
        current,
        unit: "bytes",
        ...(total !== undefined && { total }),
      }),
  });
  const programs = await unpack(archive, release.version, signal);
  await rm(archive);
  for (const name of PROGRAMS) {
    const bytes = programs.get(name);
    if (bytes === undefined)
      throw new MachineError("firecracker-unavailable", `the archive ${url} has no program ${name}`);
    await writeProgram(join(work, name), bytes);
  }
}

async function writeProgram(path: string, bytes: Buffer): Promise<void> {
  await using file = await open(path, "wx", 0o700);
  await file.writeFile(bytes);
  // Whatever the umask took away: a jailed VMM executes a copy with this mode, and owns it.
  await chmod(path, 0o755);
  await file.sync();
}

/** The programs by their short names; of the archive's paths nothing becomes a path of the host's. */
async function unpack(
  archive: string,
  version: string,
  signal: AbortSignal | undefined,
): Promise<Map<string, Buffer>> {
  const arch = "x86_64";
  const wanted = new Map<string, string>(
    PROGRAMS.map((name) => [`release-v${version}-${arch}/${name}-v${version}-${arch}`, name]),
  );
  const found = new Map<string, Buffer>();
  let name: string | undefined;
  let pieces: Buffer[] = [];
  const reader = new TarReader({
    entry: (entry) => {
      name = entry.type === "file" ? wanted.get(Buffer.from(entry.name).toString("latin1")) : undefined;
      pieces = [];
    },
    data: (chunk, start, end) => {
      if (name !== undefined) pieces.push(Buffer.from(chunk.subarray(start, end)));
    },
    endEntry: () => {
      if (name !== undefined) found.set(name, Buffer.concat(pieces));
    },
  });
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      try {
        reader.push(chunk);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
  await pipeline(createReadStream(archive), createGunzip(), bounded(), sink, { signal });
  reader.finish();
  return found;
}

function bounded(): Transform {
  let sizeBytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sizeBytes += chunk.length;
      const tooLarge = sizeBytes > MAX_UNPACKED_BYTES;
      done(tooLarge ? new MachineError("firecracker-unavailable", "the archive has no end") : null, chunk);
    },
  });
}

/** Machines of another version go on: they have their program open. */
async function removeOthers(parent: string, keep: string): Promise<void> {
  for (const name of await readdir(parent))
    if (name !== keep && !name.startsWith(".")) await removeWhole(parent, name);
}
