/**
 * Signals by their names, as `StopSignal` of an image and `--stop-signal` have them: `SIGTERM`, `term`, `15`,
 * `SIGRTMIN+3`. The numbers are Linux's on x86 and arm64. https://man7.org/linux/man-pages/man7/signal.7.html
 */
const NAMES = [
  ["HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM"],
  ["TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM"],
  ["PROF", "WINCH", "IO", "PWR", "SYS"],
].flat();
const OTHER_NAMES: Readonly<Record<string, number>> = { IOT: 6, CLD: 17, POLL: 29, UNUSED: 31 };

/** glibc's and musl's view: the kernel's first two real-time signals are the C library's own. */
const RTMIN = 34;
const RTMAX = 64;

/** 1 … 64; undefined when the text is no signal. */
export function parseSignal(text: string): number | undefined {
  if (/^\d{1,2}$/.test(text)) {
    const number = Number(text);
    return number >= 1 && number <= RTMAX ? number : undefined;
  }
  const name = text.toUpperCase().replace(/^SIG/, "");
  const index = NAMES.indexOf(name);
  if (index >= 0) return index + 1;
  if (Object.hasOwn(OTHER_NAMES, name)) return OTHER_NAMES[name];
  const realTime = /^RT(?:MIN(?:\+(\d{1,2}))?|MAX(?:-(\d{1,2}))?)$/.exec(name);
  if (realTime === null) return undefined;
  const [, above, below] = realTime;
  const number = name.startsWith("RTMIN") ? RTMIN + Number(above ?? 0) : RTMAX - Number(below ?? 0);
  return number >= RTMIN && number <= RTMAX ? number : undefined;
}

/** `TERM`, `KILL`, …, without SIG: for suggestions. */
export const SIGNAL_NAMES: readonly string[] = NAMES;
