/**
 * Seccomp profiles in Docker's format: OCI's `linux.seccomp` with conditions, which `resolve.ts` takes away.
 * https://docs.docker.com/engine/security/seccomp/
 *
 *     { "defaultAction", "defaultErrnoRet"?, "architectures"? | "archMap"?, "flags"?,
 *       "syscalls": [{ "names" | "name", "action", "errnoRet"?, "args"?, "includes"?, "excludes"? }] }
 *
 * A member that is not known is refused: a condition that is passed over would make a filter weaker than it reads.
 */
import * as v from "valibot";
import { parseJson } from "../../oci/json.ts";
import { problemOf } from "../../oci/problem.ts";
import { RuntimeSpecError } from "../error.ts";

export const MAX_PROFILE_BYTES = 1 << 20;
const MAX_RULES = 4_096;
const MAX_NAMES = 1_024;

/** The actions of seccomp(2). NOTIFY is missing: it needs a supervisor, and a machine has none. */
export const ACTIONS = [
  "SCMP_ACT_KILL",
  "SCMP_ACT_KILL_PROCESS",
  "SCMP_ACT_KILL_THREAD",
  "SCMP_ACT_TRAP",
  "SCMP_ACT_ERRNO",
  "SCMP_ACT_TRACE",
  "SCMP_ACT_ALLOW",
  "SCMP_ACT_LOG",
] as const;

const OPERATORS = [
  "SCMP_CMP_NE",
  "SCMP_CMP_LT",
  "SCMP_CMP_LE",
  "SCMP_CMP_EQ",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_MASKED_EQ",
] as const;

const FLAGS = [
  "SECCOMP_FILTER_FLAG_TSYNC",
  "SECCOMP_FILTER_FLAG_LOG",
  "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
  "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
] as const;

const MAX_ERRNO = 4_095;

const action = v.picklist(ACTIONS, (issue) => `${issue.received} is no action that a machine has`);
const errno = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_ERRNO));
const syscallName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_]{1,64}$/, "not a system call's name"));
const architecture = v.pipe(v.string(), v.regex(/^SCMP_ARCH_[A-Z0-9_]{1,24}$/, "not an architecture"));
const word = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_]{1,64}$/, "not a word"));
const words = v.pipe(v.array(word), v.maxLength(256));
/** JavaScript's numbers are exact to 2^53; a value that was rounded would compare with another one. */
const exact = v.pipe(v.number(), v.safeInteger("more than 2^53 - 1 cannot be told exactly"), v.minValue(0));

const kernelVersion = v.pipe(v.string(), v.regex(/^\d{1,4}\.\d{1,4}$/, "not a kernel version as in 4.8"));

const filter = v.strictObject({
  caps: v.optional(words),
  arches: v.optional(words),
  minKernel: v.optional(kernelVersion),
});

const argument = v.strictObject({
  index: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(5)),
  value: exact,
  valueTwo: v.optional(exact),
  op: v.picklist(OPERATORS, (issue) => `${issue.received} is no comparison`),
});

const rule = v.pipe(
  v.strictObject({
    name: v.optional(syscallName),
    names: v.optional(v.pipe(v.array(syscallName), v.maxLength(MAX_NAMES))),
    action,
    errnoRet: v.optional(errno),
    args: v.optional(v.pipe(v.array(argument), v.maxLength(6))),
    comment: v.optional(v.string()),
    includes: v.optional(filter),
    excludes: v.optional(filter),
  }),
  v.check(
    (given) => !(given.name !== undefined && given.names !== undefined && given.names.length > 0),
    "has both name and names",
  ),
  v.check((given) => given.name !== undefined || (given.names ?? []).length > 0, "names no system call"),
);

const profileSchema = v.pipe(
  v.strictObject({
    defaultAction: action,
    defaultErrnoRet: v.optional(errno),
    architectures: v.optional(v.pipe(v.array(architecture), v.maxLength(64))),
    archMap: v.optional(
      v.pipe(
        v.array(
          v.strictObject({
            architecture,
            subArchitectures: v.optional(v.pipe(v.array(architecture), v.maxLength(64))),
          }),
        ),
        v.maxLength(64),
      ),
    ),
    flags: v.optional(
      v.pipe(
        v.array(v.picklist(FLAGS, (issue) => `${issue.received} is no flag of a filter`)),
        v.maxLength(8),
      ),
    ),
    comment: v.optional(v.string()),
    syscalls: v.optional(v.pipe(v.array(rule), v.maxLength(MAX_RULES)), []),
  }),
  v.check(
    ({ architectures = [], archMap = [] }) => architectures.length === 0 || archMap.length === 0,
    "has both architectures and archMap",
  ),
);

/** A profile whose conditions have not been decided yet. */
export type SeccompProfile = v.InferOutput<typeof profileSchema>;
export type ProfileRule = v.InferOutput<typeof rule>;

/** @throws RuntimeSpecError `invalid-seccomp-profile` */
export function parseProfile(text: string): SeccompProfile {
  const what = "the seccomp profile";
  const limits = { maxBytes: MAX_PROFILE_BYTES, what, code: "invalid-seccomp-profile" };
  const parsed = v.safeParse(profileSchema, parseJson(Buffer.from(text), limits));
  if (parsed.success) return parsed.output;
  throw new RuntimeSpecError(
    "invalid-seccomp-profile",
    `${what} is not acceptable: ${problemOf(parsed.issues)}`,
    { hint: "profiles have Docker's format: https://docs.docker.com/engine/security/seccomp/" },
  );
}
