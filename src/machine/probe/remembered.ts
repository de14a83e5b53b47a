/**
 * What a program said of itself, remembered as long as its file is the same: asking takes as long as a machine's start.
 *
 *     dataDir/probe/said-KEY.json     KEY: of the program's path
 */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { object, safeParse, string } from "valibot";
import { makePrivateDir, writeFileAtomic } from "../../util/atomic-file.ts";
import { runCommand } from "../../util/command.ts";
import type { Paths } from "../../util/paths.ts";

const record = object({ file: string(), said: string() });
const MAX_SAID = 4_096;

export interface RememberOptions {
  readonly paths: Paths;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What `program --version` prints, at most its beginning.
 * @throws FlameBoxError `command-failed`, `program-missing`; system errors for a program that is not there
 */
export async function versionText(program: string, { paths, signal }: RememberOptions): Promise<string> {
  const { size, mtimeMs, ino } = await stat(program);
  const file = JSON.stringify([program, size, mtimeMs, ino]);
  const key = createHash("sha256").update(program).digest("hex").slice(0, 16);
  const path = join(paths.dataDir, "probe", `said-${key}.json`);
  const known = await read(path);
  if (known?.file === file) return known.said;
  const { stdout } = await runCommand(program, ["--version"], { signal, timeoutMs: 20_000 });
  const said = stdout.toString().slice(0, MAX_SAID);
  await makePrivateDir(join(paths.dataDir, "probe"));
  await writeFileAtomic(path, JSON.stringify({ file, said }));
  return said;
}

async function read(path: string): Promise<{ readonly file: string; readonly said: string } | undefined> {
  try {
    const parsed = safeParse(record, JSON.parse(await readFile(path, "utf8")));
    return parsed.success ? parsed.output : undefined;
  } catch {
    // Not there, or not whole: it is about to be written.
    return undefined;
  }
}
