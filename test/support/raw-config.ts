/** config.json for tests that give it to the guest raw, and what came of it as one text. */
import { DEFAULT_CAPABILITIES } from "../../src/runtime-spec/capabilities.ts";
import { DEFAULT_MOUNTS } from "../../src/runtime-spec/defaults.ts";
import type { Outcome } from "./raw-machine.ts";

export type Json = Readonly<Record<string, unknown>>;

export interface Changes {
  readonly process?: Json;
  readonly linux?: Json;
  readonly namespaces?: readonly Json[];
  readonly mounts?: readonly Json[];
  readonly top?: Json;
}

/** A config.json that runs a shell script, with the parts that a row is about. */
export function config(script: string, changes: Changes = {}): object {
  const { process = {}, linux = {}, namespaces = [], mounts = [], top = {} } = changes;
  const capabilities = DEFAULT_CAPABILITIES;
  return {
    ociVersion: "1.2.0",
    process: {
      user: { uid: 0, gid: 0 },
      args: ["sh", "-c", script],
      env: ["PATH=/bin"],
      cwd: "/",
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: false,
      ...process,
    },
    root: { path: "rootfs" },
    mounts: [...DEFAULT_MOUNTS, ...mounts],
    linux: {
      namespaces: [...["pid", "mount", "ipc", "uts", "cgroup"].map((type) => ({ type })), ...namespaces],
      ...linux,
    },
    ...top,
  };
}

/** What the script wrote, and how it ended when it did not end well; or what the guest said against it. */
export function told({ stdout, stderr, exitCode, signal, error }: Outcome): string {
  if (error !== undefined) return error;
  const end = exitCode === 0 ? "" : `[${exitCode ?? `signal ${signal}`}]`;
  return `${stdout}${stderr}${end}`.trimEnd();
}
