/**
 * A profile's conditions decided: what is left is OCI's `linux.seccomp` for one container on one kernel.
 * The rules are Docker's: every capability of `includes` must be held, one of `excludes` is enough.
 */
import type { Seccomp, SyscallRule } from "../config.ts";
import type { ProfileRule, SeccompProfile } from "./profile.ts";

export type Architecture = "amd64" | "arm64";

export interface SeccompTarget {
  readonly architecture: Architecture;
  /** The bounding set: with `CAP_` before each. */
  readonly capabilities: readonly string[];
  /** `uname -r` of the guest; what is not a release counts as newer than any that a profile names. */
  readonly kernelRelease: string;
}

const NATIVE: Readonly<Record<Architecture, string>> = {
  amd64: "SCMP_ARCH_X86_64",
  arm64: "SCMP_ARCH_AARCH64",
};

function isAtLeast(release: string, version: string): boolean {
  const have = /^(\d{1,4})\.(\d{1,4})/.exec(release);
  const [wantMajor = 0, wantMinor = 0] = version.split(".").map(Number);
  if (have === null) return true;
  const [major, minor] = [Number(have[1]), Number(have[2])];
  return major > wantMajor || (major === wantMajor && minor >= wantMinor);
}

function applies({ includes, excludes }: ProfileRule, target: SeccompTarget): boolean {
  const { architecture, capabilities, kernelRelease } = target;
  if (excludes?.arches?.includes(architecture) === true) return false;
  if (excludes?.caps?.some((name) => capabilities.includes(name)) === true) return false;
  if (excludes?.minKernel !== undefined && isAtLeast(kernelRelease, excludes.minKernel)) return false;
  const { arches = [], caps = [], minKernel } = includes ?? {};
  if (arches.length > 0 && !arches.includes(architecture)) return false;
  if (!caps.every((name) => capabilities.includes(name))) return false;
  return minKernel === undefined || isAtLeast(kernelRelease, minKernel);
}

const EPERM = 1;

/** libseccomp refuses a rule that does what happens anyway; runc leaves it out, too. */
function isDefault(rule: ProfileRule, { defaultAction, defaultErrnoRet = EPERM }: SeccompProfile): boolean {
  if (rule.action !== defaultAction) return false;
  return rule.action !== "SCMP_ACT_ERRNO" || (rule.errnoRet ?? EPERM) === defaultErrnoRet;
}

function ruleOf({ name, names, action, errnoRet, args }: ProfileRule): SyscallRule {
  return {
    names: name === undefined ? (names ?? []) : [name],
    action,
    ...(errnoRet !== undefined && { errnoRet }),
    ...(args !== undefined &&
      args.length > 0 && { args: args.map(({ valueTwo = 0, ...rest }) => ({ ...rest, valueTwo })) }),
  };
}

function architecturesOf(profile: SeccompProfile, { architecture }: SeccompTarget): string[] {
  const native = NATIVE[architecture];
  const mapped = profile.archMap?.find((entry) => entry.architecture === native);
  if (mapped !== undefined) return [native, ...(mapped.subArchitectures ?? [])];
  return profile.architectures ?? [];
}

export function resolveProfile(profile: SeccompProfile, target: SeccompTarget): Seccomp {
  const architectures = architecturesOf(profile, target);
  const { defaultAction, defaultErrnoRet, flags = [], syscalls } = profile;
  return {
    defaultAction,
    ...(defaultErrnoRet !== undefined && { defaultErrnoRet }),
    ...(architectures.length > 0 && { architectures }),
    ...(flags.length > 0 && { flags }),
    syscalls: syscalls
      .filter((rule) => applies(rule, target) && !isDefault(rule, profile))
      .map((rule) => ruleOf(rule)),
  };
}
