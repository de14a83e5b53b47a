/**
 * The header of a Linux x86 boot image ("bzImage").
 * https://docs.kernel.org/arch/x86/boot.html#the-real-mode-kernel-header
 *
 * Only what FlameBox asks of it: is this a kernel, which release is it, and where is the ELF file in it?
 *
 *     boot sector, setup sectors │ protected-mode code: decompressor, payload (a compressed vmlinux), …
 *     0                          │ (setup_sects + 1) * 512            payload_offset from here, payload_length
 */
import { FlameBoxError } from "../../util/error.ts";

export interface BzImageHeader {
  /** Boot protocol version, 0x020f = 2.15. */
  readonly protocolVersion: number;
  /** The first word of the version string, `6.12.117+deb12-cloud-amd64`; undefined when the image has none. */
  readonly release: string | undefined;
  /** The compressed ELF file, in bytes from the beginning of the image; undefined before protocol 2.08. */
  readonly payload: { readonly offset: number; readonly sizeBytes: number } | undefined;
}

export class BzImageError extends FlameBoxError {
  override readonly name = "BzImageError";
}

/** Bytes of the file that `parse` wants to see, at most: the setup sectors. */
export const HEADER_BYTES = 64 * 1024;

const SETUP_SECTORS_OFFSET = 0x1f1;
const BOOT_FLAG_OFFSET = 0x1fe;
const MAGIC_OFFSET = 0x202;
const VERSION_OFFSET = 0x206;
const KERNEL_VERSION_OFFSET = 0x20e;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH_OFFSET = 0x24c;
const PAYLOAD_PROTOCOL = 0x0208;
const SECTOR_BYTES = 512;
/** What 0 stands for, "for backwards compatibility". */
const DEFAULT_SETUP_SECTORS = 4;
const MAX_VERSION_BYTES = 512;

/**
 * @param name what to call the file in errors
 * @throws BzImageError `not-a-kernel`
 */
export function parse(bytes: Uint8Array, name = "the file"): BzImageHeader {
  const notAKernel = (why: string): BzImageError => refusal(name, why);
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (data.length < 0x260) throw notAKernel(`only ${data.length} bytes long`);
  if (data.readUInt16LE(BOOT_FLAG_OFFSET) !== 0xaa55) throw notAKernel("no boot flag at offset 0x1fe");
  if (data.toString("latin1", MAGIC_OFFSET, MAGIC_OFFSET + 4) !== "HdrS")
    throw notAKernel('no "HdrS" at offset 0x202');
  const protocolVersion = data.readUInt16LE(VERSION_OFFSET);
  const pointer = data.readUInt16LE(KERNEL_VERSION_OFFSET);
  return {
    protocolVersion,
    release: pointer === 0 ? undefined : releaseAt(data, pointer + 0x200),
    payload: protocolVersion < PAYLOAD_PROTOCOL ? undefined : payloadOf(data),
  };
}

function payloadOf(data: Buffer): { offset: number; sizeBytes: number } | undefined {
  const sizeBytes = data.readUInt32LE(PAYLOAD_LENGTH_OFFSET);
  const setupSectors = data[SETUP_SECTORS_OFFSET] || DEFAULT_SETUP_SECTORS;
  const offset = (setupSectors + 1) * SECTOR_BYTES + data.readUInt32LE(PAYLOAD_OFFSET);
  return sizeBytes === 0 ? undefined : { offset, sizeBytes };
}

function releaseAt(data: Buffer, start: number): string | undefined {
  const end = data.indexOf(0, start);
  if (start >= data.length || end < 0 || end - start > MAX_VERSION_BYTES) return undefined;
  const word = data.toString("latin1", start, end).split(" ")[0] ?? "";
  // The release becomes part of a path (/lib/modules/RELEASE), so nothing but a plain name is let through.
  return /^[0-9A-Za-z][0-9A-Za-z.+_~-]{0,127}$/.test(word) ? word : undefined;
}

function refusal(name: string, why: string): BzImageError {
  return new BzImageError("not-a-kernel", `${name} is not a bzImage: ${why}`, {
    hint: "--kernel takes an x86 boot image such as /boot/vmlinuz-…",
  });
}
