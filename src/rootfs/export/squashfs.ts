/** A tree as a squashfs file: the archive of export/tar.ts, given to one of the programs that know the format. */
import { runCommand } from "../../util/command.ts";
import { findProgram } from "../../util/find-program.ts";
import type { ValidatedTree } from "../validate.ts";
import { RootfsError } from "../rootfs-error.ts";
import type { Blobs } from "./blobs.ts";
import { tarPieces } from "./tar.ts";

export type SquashfsTool = {
  readonly name: string;
  /** It fails at some sparse files, GNU tar's own among them (seen in 4.5.1). */
  readonly holesAsZeros: boolean;
  readonly args: (tree: ValidatedTree, path: string) => readonly string[];
};

/** tar2sqfs first: it makes the same bytes of the same archive, and knows the root directory's entry. */
export const SQUASHFS_TOOLS: readonly SquashfsTool[] = [
  {
    name: "tar2sqfs",
    holesAsZeros: false,
    args: (_tree, path) => ["--quiet", "--no-skip", "--compressor", "zstd", path],
  },
  {
    name: "sqfstar",
    holesAsZeros: true,
    args: (tree, path) => [
      "-no-progress",
      "-quiet",
      "-comp",
      "zstd",
      "-mkfs-time",
      "0",
      "-root-mode",
      ((tree.mode[0] ?? 0) & 0o7777).toString(8),
      "-root-uid",
      `${tree.uid[0] ?? 0}`,
      "-root-gid",
      `${tree.gid[0] ?? 0}`,
      "-root-time",
      `${Math.max(0, tree.mtimeSeconds[0] ?? 0)}`,
      path,
    ],
  },
];

/** The program that is going to be used. @throws RootfsError `program-missing` */
export async function findSquashfsTool(
  find: typeof findProgram = findProgram,
): Promise<{ readonly program: string; readonly tool: SquashfsTool }> {
  for (const tool of SQUASHFS_TOOLS) {
    const program = await find(tool.name);
    if (program !== undefined) return { program, tool };
  }
  const names = SQUASHFS_TOOLS.map(({ name }) => name).join(" nor ");
  throw new RootfsError("program-missing", `neither ${names} is installed, which write squashfs`, {
    hint: "install Debian's package squashfs-tools-ng or squashfs-tools",
  });
}

/** Writes a new file. @throws FlameBoxError `command-failed` with the program's last words */
export async function writeSquashfs(
  { program, tool }: Awaited<ReturnType<typeof findSquashfsTool>>,
  from: { readonly tree: ValidatedTree; readonly blobs: Blobs },
  path: string,
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly report?: ((current: number) => void) | undefined;
  },
): Promise<void> {
  const { signal, report } = options;
  await runCommand(program, tool.args(from.tree, path), {
    signal,
    input: counted(tarPieces(from.tree, from.blobs, { signal, holesAsZeros: tool.holesAsZeros }), report),
    timeoutMs: Number.POSITIVE_INFINITY,
  });
}

/** The same pieces; `report` is told how many bytes have passed. */
export async function* counted(
  pieces: AsyncIterable<Uint8Array>,
  report: ((current: number) => void) | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  let current = 0;
  for await (const piece of pieces) {
    yield piece;
    current += piece.length;
    report?.(current);
  }
}
