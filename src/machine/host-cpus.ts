/**
 * The CPUs of the host that a VMM's threads may run on, in the kernel's list format: `0-3,5`.
 * https://man7.org/linux/man-pages/man7/cpuset.7.html
 */
import { readFile } from "node:fs/promises";
import { quote } from "../util/printable.ts";
import { MachineError } from "./machine.ts";

/** Linux is built for at most this many. */
const MAX_CPUS = 8_192;
const MAX_LENGTH = 4_096;

/** @throws MachineError `invalid-option` */
export function parseCpuList(text: string): number[] {
  const refuse = (): MachineError =>
    new MachineError("invalid-option", `not a list of CPUs: ${quote(text)}`, {
      hint: "write numbers and ranges, as in 0-3,5",
    });
  if (text.length > MAX_LENGTH) throw refuse();
  const cpus = new Set<number>();
  for (const part of text.split(",")) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    const first = Number(match?.[1] ?? Number.NaN);
    const last = Number(match?.[2] ?? first);
    if (!(first <= last && last < MAX_CPUS)) throw refuse();
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return [...cpus].sort((a, b) => a - b);
}

/** Those that this process may use. */
export async function allowedCpus(): Promise<readonly number[]> {
  const status = await readFile("/proc/self/status", "utf8");
  return parseCpuList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "0");
}

/** @throws MachineError `invalid-option` when the host does not have one of them */
export async function requireCpus(text: string): Promise<readonly number[]> {
  const wanted = parseCpuList(text);
  const allowed = await allowedCpus();
  const missing = wanted.filter((cpu) => !allowed.includes(cpu));
  if (missing.length === 0) return wanted;
  throw new MachineError(
    "invalid-option",
    `this host has no CPU ${missing.slice(0, 8).join(", ")} to run a machine on`,
    {
      hint: `there are ${allowed.slice(0, 64).join(", ")}`,
    },
  );
}
