/** `--ulimit`, with Docker's names, and what it gives when nothing is said. setrlimit(2) */
import { nearest } from "../util/nearest.ts";
import { quote } from "../util/printable.ts";
import type { Rlimit } from "./config.ts";
import { invalidOption } from "./error.ts";

export interface Ulimit {
  /** `nofile`, `nproc`, `memlock`, …: the C name in lower case, without RLIMIT_. */
  readonly name: string;
  /** Whatever unit the limit has; -1 is unlimited. */
  readonly soft: number;
  readonly hard: number;
}

// Docker's; RLIMIT_AS is not among them, as it would bind the runtime, too.
const NAMES = [
  "core",
  "cpu",
  "data",
  "fsize",
  "locks",
  "memlock",
  "msgqueue",
  "nice",
  "nofile",
  "nproc",
  "rss",
  "rtprio",
  "rttime",
  "sigpending",
  "stack",
];

/** Docker's daemon passes on what it was given, which is this nearly everywhere. */
const DEFAULTS: readonly Ulimit[] = [{ name: "nofile", soft: 1_048_576, hard: 1_048_576 }];

/**
 * RLIM_INFINITY is 2^64 - 1, which no JavaScript number is. This is the largest below it; the guest takes
 * whatever is beyond 2^63 for infinity.
 */
export const UNLIMITED = 2 ** 64 - 2048;

function limitOf({ name, soft, hard }: Ulimit): Rlimit {
  if (!NAMES.includes(name)) {
    const near = nearest(name, NAMES);
    throw invalidOption(
      `there is no ulimit ${quote(name)}`,
      near === undefined ? `ulimits are ${NAMES.join(", ")}` : `did you mean ${near}?`,
    );
  }
  for (const value of [soft, hard])
    if (!Number.isSafeInteger(value) || value < -1)
      throw invalidOption(`the ulimit ${name} is a whole number, or -1 for unlimited, not ${value}`);
  const [low, high] = [soft, hard].map((value) => (value === -1 ? UNLIMITED : value)) as [number, number];
  if (low > high)
    throw invalidOption(`the soft ulimit of ${name} (${soft}) is more than the hard one (${hard})`);
  return { type: `RLIMIT_${name.toUpperCase()}`, soft: low, hard: high };
}

/** The last one of a name counts. @throws RuntimeSpecError `invalid-option` */
export function rlimitsOf(ulimits: readonly Ulimit[] = []): Rlimit[] {
  const byType = new Map([...DEFAULTS, ...ulimits].map((ulimit) => [ulimit.name, limitOf(ulimit)] as const));
  return [...byType.values()];
}
