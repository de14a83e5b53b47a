/** `--ulimit`, `--sysctl`: what a container's processes may use of the kernel. */
import { UsageError } from "../failure.ts";
import type { Ulimit } from "../library.ts";

const LIMIT = /^(?:-1|\d{1,15})$/;

/** `nofile=1024:2048`; one number is both the soft and the hard limit. */
export function parseUlimit(argument: string): Ulimit {
  const match = /^([^=]+)=([^:]*)(?::([^:]*))?$/.exec(argument);
  const [, name, soft = "", hard = soft] = match ?? [];
  if (name === undefined || !LIMIT.test(soft) || !LIMIT.test(hard))
    throw new UsageError(
      `--ulimit '${argument}' is not a limit`,
      "write NAME=SOFT[:HARD], as in nofile=1024:2048; -1 is unlimited",
    );
  return { name, soft: Number(soft), hard: Number(hard) };
}

export function parseSysctl(argument: string): readonly [name: string, value: string] {
  const equals = argument.indexOf("=");
  if (equals <= 0)
    throw new UsageError(
      `--sysctl '${argument}' has no value`,
      "write NAME=VALUE, as in net.core.somaxconn=1024",
    );
  return [argument.slice(0, equals).trim(), argument.slice(equals + 1)];
}
