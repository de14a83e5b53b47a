/** Signals as people write them: `KILL`, `SIGHUP`, `15`, `RTMIN+3`. The kernel's numbers, signal(7). */
import { UsageError } from "../failure.ts";

const NAMES = [
  "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU",
  "URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS",
]
  .join(" ")
  .split(" ");
/** As `kill -l` has them: `HUP`, `INT`, … */
export const SIGNAL_NAMES: readonly string[] = NAMES;
const RTMIN = 34;
const MAX_SIGNAL = 64;

export function parseSignalFlag(text: string, flag: string): number {
  const bare = text.toUpperCase().replace(/^SIG/, "");
  const realtime = /^RTMIN(?:\+(\d{1,2}))?$/.exec(bare);
  const number = /^\d{1,2}$/.test(bare)
    ? Number(bare)
    : realtime === null
      ? NAMES.indexOf(bare) + 1
      : RTMIN + Number(realtime[1] ?? 0);
  if (number >= 1 && number <= MAX_SIGNAL) return number;
  throw new UsageError(
    `${flag} '${text}' is not a signal`,
    "write a name, a number from 1 to 64, or SIGRTMIN+n",
  );
}
