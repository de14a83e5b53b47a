/**
 * The ELF file in a bzImage, for VMMs that load no bzImage: Firecracker. Made once per kernel.
 *
 *     bzImage ─► payload (zstd or gzip) ─► guest/vmlinux-KEY
 */
import { createReadStream } from "node:fs";
import { access, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { decompress, detectCompression } from "../../formats/compression/decompress.ts";
import { makePrivateDir, publish, temporaryName } from "../../util/atomic-file.ts";
import { FlameBoxError, messageOf } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import { MachineError } from "../machine.ts";
import { inspectKernel } from "./kernel.ts";

/** Debian's has 55 MiB; a kernel with all drivers built in and debug information is still below. */
const MAX_ELF_BYTES = 1 << 30;
/** Kernel builds append the plain size, u32le, to every payload but gzip's, whose format ends with it anyway. */
const SIZE_FIELD_BYTES = 4;
/** e_ident of a 64-bit little-endian ELF file; e_machine, at 18, is 62 for x86-64. */
const ELF_MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
const MACHINE_OFFSET = 18;
const X86_64 = 62;

/**
 * Path of the ELF file of the kernel at `kernelPath`, a bzImage.
 * @throws MachineError `kernel-unavailable`; BzImageError `not-a-kernel`
 */
export async function elfKernel(kernelPath: string, paths: Paths, signal?: AbortSignal): Promise<string> {
  const { header, key } = await inspectKernel(kernelPath);
  const guestDir = join(paths.dataDir, "guest");
  const path = join(guestDir, `vmlinux-${key}`);
  const isThere = await access(path).then(
    () => true,
    () => false,
  );
  if (isThere) return path;
  if (header.payload === undefined) throw unusable(kernelPath, "its header names no payload");
  await makePrivateDir(guestDir);
  const temporary = temporaryName(guestDir, "vmlinux");
  try {
    await extract(kernelPath, header.payload, temporary, signal);
    await publish(temporary, path);
    return path;
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof FlameBoxError && error.code.startsWith("zstd-"))
      throw unusable(kernelPath, messageOf(error), error);
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function extract(
  kernelPath: string,
  { offset, sizeBytes }: { readonly offset: number; readonly sizeBytes: number },
  outPath: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await using image = await open(kernelPath, "r");
  if ((await image.stat()).size < offset + sizeBytes) throw unusable(kernelPath, "it is cut short");
  const { buffer: head } = await image.read(Buffer.alloc(4), 0, 4, offset);
  const compression = detectCompression(head);
  if (compression === "none") throw unusable(kernelPath, "its payload is neither zstd nor gzip");
  const end = offset + sizeBytes - (compression === "gzip" ? 0 : SIZE_FIELD_BYTES);
  const payload = createReadStream(kernelPath, { start: offset, end: end - 1, highWaterMark: 1 << 20 });
  await using out = await open(outPath, "wx", 0o600);
  let isFirst = true;
  for await (const chunk of decompress(payload, compression, { signal, maxOutputBytes: MAX_ELF_BYTES })) {
    if (isFirst && !isElf(chunk)) throw unusable(kernelPath, "its payload is no ELF file for x86-64");
    isFirst = false;
    await out.writeFile(chunk);
  }
  if (isFirst) throw unusable(kernelPath, "its payload is empty");
  await out.sync();
}

function isElf(chunk: Uint8Array): boolean {
  const head = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (head.length < MACHINE_OFFSET + 2) return false;
  return head.subarray(0, ELF_MAGIC.length).equals(ELF_MAGIC) && head.readUInt16LE(MACHINE_OFFSET) === X86_64;
}

function unusable(kernelPath: string, why: string, cause?: unknown): MachineError {
  return new MachineError("kernel-unavailable", `Firecracker cannot load the kernel ${kernelPath}: ${why}`, {
    hint: "give a kernel whose payload is zstd or gzip, as Debian's, or choose --vmm qemu",
    cause,
  });
}
