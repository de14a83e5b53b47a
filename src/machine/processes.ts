/** Which process is the VMM, of those that an enclosure has made of one (guest/src/enclose.rs). */
import { readFile } from "node:fs/promises";

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "latin1").catch(() => "");
  return text.split(" ").filter(Boolean).map(Number);
}

/** The process below its process 1 where it has a pid namespace of its own; else `pid` itself. */
export async function enclosedProgram(pid: number): Promise<number> {
  for (const child of await childrenOf(pid)) {
    const [program] = await childrenOf(child);
    if (program !== undefined) return program;
  }
  return pid;
}
