/**
 * How the programs of machines are started: in namespaces of their own where those can be had, on the CPUs that were
 * chosen, and so that they end with this process. The agent's program does that (guest/src/enclose.rs); without it, what
 * util-linux has.
 */
import { boundCommand, pinnedTo } from "./command.ts";
import { MachineError } from "./machine.ts";

export interface Enclosure {
  /** Absolute path of the agent's program. */
  readonly helper: string | undefined;
  /** CPUs of the host; undefined is any. */
  readonly hostCpus?: readonly number[] | undefined;
  /** Namespaces are a must: what cannot have them does not start. */
  readonly strict?: boolean | undefined;
  /** A tap device that this user may open; its frames are descriptor 3's. */
  readonly tap?: { readonly name: string; readonly uid: number } | undefined;
  readonly mostFiles?: number | undefined;
  readonly mostFileBytes?: number | undefined;
  /** The program becomes another user by itself, and may have a pid namespace of its own or not. */
  readonly changesUser?: "contained" | "watched" | undefined;
}

/** @throws MachineError `network-refused`, `program-missing` */
export async function enclosedCommand(command: readonly string[], enclosure: Enclosure): Promise<string[]> {
  const { helper, hostCpus, strict, tap, mostFiles, mostFileBytes, changesUser } = enclosure;
  if (helper === undefined) {
    if (tap !== undefined || changesUser !== undefined)
      throw new MachineError("network-refused", "there is no program for this machine's surroundings");
    return await boundCommand(command, hostCpus);
  }
  const options = [
    // One that is killed while it starts a VMM must not leave it behind.
    ["--parent", String(process.pid)],
    strict === true ? [] : ["--if-allowed"],
    tap === undefined ? [] : ["--tap", tap.name, String(tap.uid)],
    mostFiles === undefined ? [] : ["--most-files", String(mostFiles)],
    mostFileBytes === undefined ? [] : ["--most-file-bytes", String(mostFileBytes)],
    changesUser === undefined ? [] : [changesUser === "watched" ? "--watched" : "--processes"],
  ];
  const pinned = hostCpus === undefined ? [] : await pinnedTo(hostCpus);
  return [helper, "enclose", ...options.flat(), "--", ...pinned, ...command];
}
