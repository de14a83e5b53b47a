/**
 * What a program needs in a directory that is its whole world: nothing when it is static, as Firecracker's releases
 * are; else its dynamic linker and the libraries that this one names.
 * https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html
 */
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { runCommand } from "../../util/command.ts";
import { struct, u16le, u32le, u64le } from "../../formats/struct.ts";
import { MachineError } from "../machine.ts";

const header = struct("Elf64_Ehdr", 64, {
  magic: u32le(0),
  phoff: u64le(32),
  phentsize: u16le(54),
  phnum: u16le(56),
});
const programHeader = struct("Elf64_Phdr", 56, {
  type: u32le(0),
  offset: u64le(8),
  filesz: u64le(32),
});
const ELF_MAGIC = 0x464c_457f;
const PT_INTERP = 3;
const MAX_PROGRAM_HEADERS = 64;
const MAX_PATH_BYTES = 4_096;

/** Absolute paths, as the program looks for them. @throws MachineError `vmm-missing` for what is no program */
export async function filesOf(program: string): Promise<string[]> {
  const linker = await linkerOf(program);
  if (linker === undefined) return [];
  const { stdout } = await runCommand(linker, ["--list", program], { timeoutMs: 20_000 });
  return [linker, ...parseLibraries(stdout.toString()).filter((path) => path !== linker)];
}

/** Lines of `name => /path (0x…)` and `/path (0x…)`; what has no file has no path. */
export function parseLibraries(text: string): string[] {
  return [...text.matchAll(/(?:=> |^\s*)(\/\S+) \(0x[0-9a-f]+\)$/gm)].map(([, path = ""]) => path);
}

async function linkerOf(program: string): Promise<string | undefined> {
  await using file = await open(program, "r");
  const refuse = () => new MachineError("vmm-missing", `${program} is no ELF program`);
  const { magic, phoff, phentsize, phnum } = header.decode(await read(file, 0, header.sizeBytes, refuse), 0);
  if (magic !== ELF_MAGIC || phnum > MAX_PROGRAM_HEADERS || phentsize !== programHeader.sizeBytes)
    throw refuse();
  const table = await read(file, phoff, phnum * phentsize, refuse);
  for (let at = 0; at < table.length; at += phentsize) {
    const { type, offset, filesz } = programHeader.decode(table, at);
    if (type !== PT_INTERP) continue;
    if (filesz > MAX_PATH_BYTES) throw refuse();
    const path = await read(file, offset, filesz, refuse);
    return path.toString("latin1").replace(/\0+$/, "");
  }
  return undefined;
}

async function read(file: FileHandle, at: number, length: number, refuse: () => Error): Promise<Buffer> {
  if (!Number.isSafeInteger(at)) throw refuse();
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at);
  if (bytesRead !== length) throw refuse();
  return buffer;
}
