/**
 * What QEMU can do once its machine runs, as parts of its command line. Its seccomp sandbox is always on. Started by
 * root it has a jail besides (jail/): it opens what it was told of, among it the memory of a template, makes the
 * jail's directory its `/`, and becomes the machine's user, all before the guest's first instruction.
 */
import type { Jail } from "../jail/jail.ts";

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
}

/** `QEMU emulator version 7.2.22 (Debian …)` */
export function parseQemuVersion(text: string): QemuVersion | undefined {
  const [, major, minor] = /\bversion (\d{1,3})\.(\d{1,3})/.exec(text.slice(0, 4_096)) ?? [];
  return major === undefined ? undefined : { major: Number(major), minor: Number(minor) };
}

/**
 * No child processes, no new privileges, no set*uid: what a broken-out guest would want first. Who becomes another user
 * has to be let; no capability is left then to do it again, and no new privileges can be had.
 */
export function sandboxArguments({ isJailed }: { readonly isJailed: boolean }): string[] {
  const users = isJailed ? "allow" : "deny";
  return ["-sandbox", `on,obsolete=deny,elevateprivileges=${users},spawn=deny,resourcecontrol=deny`];
}

/** The options got other names with 8.1 and 9.1. */
export function jailArguments({ dir, user }: Pick<Jail, "dir" | "user">, version: QemuVersion): string[] {
  const since = (major: number, minor: number): boolean =>
    version.major > major || (version.major === major && version.minor >= minor);
  const [root, who] = [dir.replaceAll(",", ",,"), `${user.uid}:${user.gid}`];
  if (since(9, 1)) return ["-run-with", `chroot=${root},user=${who}`];
  return [...(since(8, 1) ? ["-run-with", `chroot=${root}`] : ["-chroot", dir]), "-runas", who];
}
