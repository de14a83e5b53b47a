/**
 * The initramfs: the agent as /init, the modules it loads, and the two device nodes a kernel wants before
 * anything is mounted. Not compressed: under emulation, inflating costs more than reading.
 *
 *     /init                     the agent
 *     /etc/flamebox/modules     module files, one a line, in load order
 *     /lib/modules/*.ko
 *     /dev/console /dev/null
 */
import type { CpioEntry } from "../../formats/cpio/format.ts";
import { writeCpio } from "../../formats/cpio/writer.ts";

export interface InitramfsParts {
  readonly agent: Uint8Array;
  /** In load order. */
  readonly modules: readonly { readonly name: string; readonly data: Uint8Array }[];
}

export function buildInitramfs(parts: InitramfsParts): Uint8Array {
  const directory = (path: string): CpioEntry => ({ path, kind: "directory", mode: 0o755 });
  const device = (path: string, major: number, minor: number): CpioEntry => ({
    path,
    kind: "character",
    mode: 0o600,
    rdev: { major, minor },
  });
  const moduleList = parts.modules.map(({ name }) => `/lib/modules/${name}\n`).join("");
  return writeCpio([
    directory("dev"),
    device("dev/console", 5, 1),
    device("dev/null", 1, 3),
    directory("etc"),
    directory("etc/flamebox"),
    { path: "etc/flamebox/modules", kind: "file", mode: 0o644, data: Buffer.from(moduleList) },
    directory("lib"),
    directory("lib/modules"),
    ...parts.modules.map(
      ({ name, data }): CpioEntry => ({ path: `lib/modules/${name}`, kind: "file", mode: 0o644, data }),
    ),
    { path: "init", kind: "file", mode: 0o755, data: parts.agent },
  ]);
}
