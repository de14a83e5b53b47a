/** The files of the host that flags name in braces. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { profile } from "./variants.ts";

export interface Places extends AsyncDisposable {
  /** `{name}` replaced by the path it stands for. */
  readonly fill: (flags: readonly string[]) => string[];
}

export async function makePlaces(): Promise<Places> {
  const dir = await mkdtemp(join(tmpdir(), "flamebox-conformance-"));
  await chmod(dir, 0o755);
  const paths = {
    folder: join(dir, "folder"),
    file: join(dir, "file"),
    envFile: join(dir, "variables"),
    profile: join(dir, "profile.json"),
  };
  await mkdir(join(paths.folder, "sub", "deep"), { recursive: true });
  await writeFile(join(paths.folder, "from-host"), "from the host\n");
  await writeFile(paths.file, "one file\n");
  await writeFile(paths.envFile, '# a comment\n\nFROM_FILE="quoted" # no comment\n');
  await writeFile(paths.profile, JSON.stringify(profile));
  const fill = (flags: readonly string[]): string[] =>
    flags.map((flag) =>
      flag.replace(/\{(folder|file|envFile|profile)\}/g, (_, name: keyof typeof paths) => paths[name]),
    );
  return { fill, [Symbol.asyncDispose]: async () => await rm(dir, { recursive: true, force: true }) };
}
