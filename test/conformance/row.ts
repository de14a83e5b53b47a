/**
 * The shape of the conformance table. A group is one container: its rows' scripts run one behind the other in
 * it, each in a shell of its own, because a machine takes seconds to start. A run is a container for one row:
 * for exit codes, signals and what else is a whole process's. An elsewhere is a row that another test shows.
 *
 * What a row expects is Docker's behaviour, as FlameBox has it. podman with runc runs the same; where it shows
 * something else, the row says what, and why.
 */
import type { Line } from "./checklist.ts";

export const bases = ["busybox", "debian"] as const;
export type Base = (typeof bases)[number];

/** Exactly, but for white space at both ends; or a pattern; or a text for each image. */
export type Shown = string | RegExp | Readonly<Record<Base, string>>;

export interface NotRun {
  readonly notRun: string;
}

export interface RowDiffers {
  readonly differs: string;
  readonly shows: Shown;
}

export interface Row {
  readonly line: Line;
  readonly name: string;
  /** For sh, with the functions of `prelude`. Must end with 0; its stdout and stderr are compared. */
  readonly script: string;
  readonly shows: Shown;
  /** Default: both. */
  readonly images?: readonly Base[];
  readonly podman?: RowDiffers | NotRun;
}

export interface Group {
  readonly name: string;
  /** Docker's. `{…}` stands for a file that the test makes (`places`). */
  readonly flags: readonly string[];
  /** Default: both. */
  readonly images?: readonly Base[];
  /** Other flags for the same, or why it is not run there. */
  readonly podman?: { readonly flags: readonly string[] } | NotRun;
  readonly rows: readonly Row[];
}

export interface Run {
  readonly line: Line;
  readonly name: string;
  readonly flags?: readonly string[];
  /** A base, or one of `variants`. */
  readonly image: string;
  readonly words?: readonly string[];
  readonly input?: string;
  /** Sent to the command line once stdout has shown `after`. */
  readonly signal?: { readonly name: NodeJS.Signals; readonly after: string };
  readonly code: number;
  readonly stdout?: string | RegExp;
  readonly stderr?: string | RegExp;
  readonly podman?:
    | {
        readonly differs: string;
        readonly code?: number;
        readonly stdout?: string | RegExp;
        readonly stderr?: string | RegExp;
      }
    | NotRun;
}

export interface Elsewhere {
  readonly line: Line;
  readonly name: string;
  /** A test file of this repository, and words that stand in it. */
  readonly file: string;
  readonly words: string;
}

/** What Docker has and FlameBox has not. */
export interface Missing {
  readonly line: Line;
  readonly name: string;
  readonly why: string;
}

/**
 * `options PATH`: type and options of the mount there, without those that every kernel sets as it likes.
 * `first FILE…`: the first that is there: a control group's file of version 2, else of version 1.
 * `refused COMMAND…`: whether it fails.
 */
export const prelude = `
options() {
  awk -v path="$1" '$2 == path { last = $3 " " $4 }
    END { gsub(/,(relatime|inode64|nsdelegate|memory_recursiveprot)/, "", last); print last }' /proc/mounts
}
first() {
  for file in "$@"; do if [ -e "$file" ]; then cat "$file"; return; fi; done
  echo "none of $*"
}
refused() { if ("$@") >/dev/null 2>&1; then echo allowed; else echo refused; fi; }
`;
