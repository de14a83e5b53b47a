/**
 * What a VMM that runs could do if its guest broke into it: what /proc says of its threads. The self-test of `doctor
 * --production`, and of the tests.
 */
import { readFile, readdir, stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { systemCode } from "../util/error.ts";

/** Of all threads together: the worst of them counts. */
export interface Confinement {
  readonly uid: number;
  readonly threads: number;
  /** Every thread has a seccomp filter. */
  readonly isFiltered: boolean;
  readonly noNewPrivileges: boolean;
  /** Effective ones, as bits of linux/capability.h. */
  readonly capabilities: bigint;
  /** Whether its `/` and its network are others than this process's. */
  readonly hasOwnRoot: boolean;
  readonly hasOwnNetwork: boolean;
}

const SECCOMP_MODE_FILTER = "2";

/** @throws system errors when there is no such process, or it may not be looked at */
export async function confinementOf(pid: number): Promise<Confinement> {
  const statuses = await statusesOf(pid);
  return {
    uid: Math.min(...statuses.map((status) => Number(status("Uid").split("\t")[1]))),
    threads: statuses.length,
    isFiltered: statuses.every((status) => status("Seccomp") === SECCOMP_MODE_FILTER),
    noNewPrivileges: statuses.every((status) => status("NoNewPrivs") === "1"),
    capabilities: statuses.reduce((all, status) => all | BigInt(`0x${status("CapEff")}`), 0n),
    hasOwnRoot: (await linkOf(pid, "root")) !== (await linkOf("self", "root")),
    hasOwnNetwork: (await linkOf(pid, "ns/net")) !== (await linkOf("self", "ns/net")),
  };
}

/** Of all threads that live: one that ends while they are read is none any more. The main one has to be there. */
async function statusesOf(pid: number): Promise<((name: string) => string)[]> {
  const threads = await readdir(`/proc/${pid}/task`);
  const texts = await Promise.all(
    threads.map(async (thread) => {
      try {
        return await readFile(`/proc/${pid}/task/${thread}/status`, "latin1");
      } catch (error) {
        const hasEnded = ["ENOENT", "ESRCH"].includes(systemCode(error) ?? "");
        if (thread !== String(pid) && hasEnded) return undefined;
        throw error;
      }
    }),
  );
  return texts.filter((text) => text !== undefined).map(statusOf);
}

function statusOf(text: string): (name: string) => string {
  const fields = new Map(text.split("\n").map((line) => [line.split(":")[0], line.split(":\t")[1] ?? ""]));
  return (name) => fields.get(name) ?? "";
}

/** What of a namespace, or of a directory, is the same for all that have it. */
async function linkOf(pid: number | "self", name: string): Promise<string> {
  const { dev, ino } = await stat(`/proc/${pid}/${name}`, { bigint: true });
  return `${dev} ${ino}`;
}

/** What is not as it should be, as half sentences. */
export function weaknessesOf(found: Confinement): string[] {
  const { uid, isFiltered, noNewPrivileges, capabilities } = found;
  return [
    ...(uid === 0 ? ["it runs as root"] : []),
    ...(isFiltered ? [] : ["a thread has no seccomp filter"]),
    ...(noNewPrivileges ? [] : ["it could gain privileges by executing a program"]),
    ...(capabilities === 0n ? [] : [`it has capabilities (${capabilities.toString(16)})`]),
  ];
}

const POLL_MS = 20;

/** A VMM confines itself while it starts: looked at until nothing is left to be said, or `deadlineMs` is over. */
export async function settledConfinement(pid: number, deadlineMs: number): Promise<Confinement> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const found = await confinementOf(pid);
    if (weaknessesOf(found).length === 0 || performance.now() > deadline) return found;
    await sleep(POLL_MS);
  }
}
