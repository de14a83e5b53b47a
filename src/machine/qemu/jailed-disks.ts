/**
 * Disks for a QEMU that sees nothing but its jail. A disk that is joined of several files (VMDK) is described anew, by
 * the names that they have there.
 */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Jail } from "../jail/jail.ts";
import type { DiskFile, MachineConfig } from "../machine.ts";
import { MachineError } from "../machine.ts";

type Disks = MachineConfig["disks"];

const DESCRIPTION = "base.vmdk";
const MAX_DESCRIPTION_BYTES = 4 * 2 ** 20;
const EXTENT = /^(RW \d+ FLAT) "([^"]+)" (\d+)$/;

export async function placeDisks(jail: Jail, { base, scratch }: Disks): Promise<Disks> {
  return {
    base: base === undefined ? undefined : await placeBase(jail, base),
    scratch: scratch === undefined ? undefined : await placeScratch(jail, scratch),
  };
}

async function placeScratch(jail: Jail, { path, format, backingPath }: DiskFile): Promise<DiskFile> {
  const backing = backingPath === undefined ? {} : { backingPath: inJail(await jail.lend(backingPath)) };
  return { path: inJail(await jail.give(path)), format, ...backing };
}

async function placeBase(jail: Jail, { path, format }: DiskFile): Promise<DiskFile> {
  if (format !== "vmdk") return { path: inJail(await jail.lend(path)), format };
  const text = await readFile(path, "latin1");
  if (text.length > MAX_DESCRIPTION_BYTES)
    throw new MachineError("jail-refused", `${path} has ${text.length} bytes, and describes a disk`);
  const names = new Map<string, string>();
  const lines: string[] = [];
  for (const line of text.split("\n")) {
    const [, head, quoted = "", first] = EXTENT.exec(line) ?? [];
    if (head === undefined) {
      lines.push(line);
      continue;
    }
    const part = resolve(dirname(path), Buffer.from(quoted, "latin1").toString());
    const name = names.get(part) ?? (await jail.lend(part));
    names.set(part, name);
    lines.push(`${head} "${name}" ${first}`);
  }
  await jail.write(DESCRIPTION, lines.join("\n"));
  return { path: inJail(DESCRIPTION), format };
}

function inJail(name: string): string {
  return `/${name}`;
}
