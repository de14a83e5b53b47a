/**
 * The header of a Linux x86 boot image ("bzImage").
 * https://docs.kernel.org/arch/x86/boot.html#the-real-mode-kernel-header
 *
 * Only what FlameBox asks of it: is this a kernel, and which release is it?
 */
import { FlameBoxError } from "../../util/error.ts";

export interface BzImageHeader {
  /** Boot protocol version, 0x020f = 2.15. */
  readonly protocolVersion: number;
  /** The first word of the version string, `6.12.117+deb12-cloud-amd64`; undefined when the image has none. */
  readonly release: string | undefined;
}

export class BzImageError extends FlameBoxError {
  override readonly name = "BzImageError";
}

/** Bytes of the file that `parse` wants to see, at most: the setup sectors. */
export const HEADER_BYTES = 64 * 1024;

const BOOT_FLAG_OFFSET = 0x1fe;
const MAGIC_OFFSET = 0x202;
const VERSION_OFFSET = 0x206;
const KERNEL_VERSION_OFFSET = 0x20e;
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
  return { protocolVersion, release: pointer === 0 ? undefined : releaseAt(data, pointer + 0x200) };
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
