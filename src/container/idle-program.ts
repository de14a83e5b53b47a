/**
 * The smallest program that does nothing: process 1 of a container that only others are executed into. Any image can run
 * it, one without a shell as well. It has children of others that ended reaped by ignoring SIGCHLD, and then waits.
 *
 *     ELF header 64 | program header 56 | rt_sigaction(SIGCHLD, SIG_IGN); for (;;) pause();
 *
 * https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
 */
export const IDLE_PATH = "/.flamebox/idle";

const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;
const ADDRESS = 0x400000;
const EM_X86_64 = 62;
const EM_AARCH64 = 183;
/** SIG_IGN as the handler, and nothing else. */
const SIGACTION = Buffer.concat([Buffer.of(1), Buffer.alloc(31)]);

// prettier-ignore
const X86_64 = Buffer.from([
  0xb8,
  13,
  0,
  0,
  0, // mov eax, SYS_rt_sigaction
  0xbf,
  17,
  0,
  0,
  0, // mov edi, SIGCHLD
  0x48,
  0x8d,
  0x35,
  19,
  0,
  0,
  0, // lea rsi, [rip + 19]: behind the loop
  0x31,
  0xd2, // xor edx, edx
  0x41,
  0xba,
  8,
  0,
  0,
  0, // mov r10d, 8
  0x0f,
  0x05, // syscall
  0xb8,
  34,
  0,
  0,
  0, // mov eax, SYS_pause
  0x0f,
  0x05, // syscall
  0xeb,
  0xf7, // jmp -9
]);

/** Little-endian words of AArch64. */
const AARCH64 = words([
  0xd28010c8, // mov x8, SYS_rt_sigaction (134)
  0xd2800220, // mov x0, SIGCHLD (17)
  0x10000141, // adr x1, +40: behind the loop
  0xd2800002, // mov x2, 0
  0xd2800103, // mov x3, 8
  0xd4000001, // svc 0
  0xd2800928, // mov x8, SYS_ppoll (73)
  0xd2800000, // mov x0, 0
  0xd2800001, // mov x1, 0
  0xd2800003, // mov x3, 0
  0xd4000001, // svc 0
  0x17fffffb, // b -20
]);

function words(list: readonly number[]): Buffer {
  const buffer = Buffer.alloc(list.length * 4);
  for (const [index, word] of list.entries()) buffer.writeUInt32LE(word, index * 4);
  return buffer;
}

function elf(machine: number, code: Buffer): Buffer {
  const body = Buffer.concat([code, SIGACTION]);
  const header = Buffer.alloc(HEADER_BYTES + SEGMENT_BYTES);
  header.write("\x7fELF\x02\x01\x01", "latin1");
  header.writeUInt16LE(2, 16); // ET_EXEC
  header.writeUInt16LE(machine, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BigInt(ADDRESS + header.length), 24);
  header.writeBigUInt64LE(BigInt(HEADER_BYTES), 32);
  header.writeUInt16LE(HEADER_BYTES, 52);
  header.writeUInt16LE(SEGMENT_BYTES, 54);
  header.writeUInt16LE(1, 56);
  const segment = header.subarray(HEADER_BYTES);
  segment.writeUInt32LE(1, 0); // PT_LOAD
  segment.writeUInt32LE(5, 4); // readable, executable
  segment.writeBigUInt64LE(BigInt(ADDRESS), 16);
  segment.writeBigUInt64LE(BigInt(ADDRESS), 24);
  segment.writeBigUInt64LE(BigInt(header.length + body.length), 32);
  segment.writeBigUInt64LE(BigInt(header.length + body.length), 40);
  segment.writeBigUInt64LE(0x1000n, 48);
  return Buffer.concat([header, body]);
}

/** For the machine's instruction set, which is the host's. */
export function idleProgram(architecture: string = process.arch): Buffer {
  return architecture === "arm64" ? elf(EM_AARCH64, AARCH64) : elf(EM_X86_64, X86_64);
}
