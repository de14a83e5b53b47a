/** What a VMM uses of the host, from /proc. */
import { readFile } from "node:fs/promises";

export interface MachineUse {
  /** Resident, what it shares with others included. */
  readonly residentBytes: number;
  /** Of all its threads, since it was started. */
  readonly cpuMicroseconds: number;
}

/** USER_HZ, which is 100 on every architecture that we run on. */
const MICROSECONDS_PER_TICK = 10_000;
const KIB = 1024;
/** utime and stime, counted behind the command's name. */
const UTIME = 11;

/** Zeros when it has ended. */
export async function machineUse(pid: number): Promise<MachineUse> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = Number(fields[UTIME] ?? 0) + Number(fields[UTIME + 1] ?? 0);
    const status = await readFile(`/proc/${pid}/status`, "latin1");
    const residentKib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0);
    return { residentBytes: residentKib * KIB, cpuMicroseconds: ticks * MICROSECONDS_PER_TICK };
  } catch {
    return { residentBytes: 0, cpuMicroseconds: 0 };
  }
}
