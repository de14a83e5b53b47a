/** The boot watchdog, with QEMU for real and kernels that cannot answer. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bootMachine } from "../../src/container/boot.ts";
import { qemuDriver } from "../../src/machine/qemu/qemu.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-boot-"));
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

async function bootWith(
  kernel: Uint8Array,
  signal?: AbortSignal,
): Promise<{ attempts: number[]; error: unknown }> {
  const kernelPath = join(dir, "kernel");
  const initramfsPath = join(dir, "initramfs");
  await writeFile(kernelPath, kernel);
  await writeFile(initramfsPath, "");
  const attempts: number[] = [];
  const error = await bootMachine({
    driver: qemuDriver({ acceleration: "tcg" }),
    emulated: true,
    config: { boot: { kernelPath, initramfsPath }, cpus: 1, memoryMib: 128, disks: {} },
    startNetwork: undefined,
    signal,
    onRetry: (attempt) => attempts.push(attempt),
    deadlineMs: 1_500,
  }).then(
    async (booted) => await booted[Symbol.asyncDispose](),
    (reason: unknown) => reason,
  );
  return { attempts, error };
}

/** A multiboot kernel that halts at once: it runs, and says nothing. */
function haltingKernel(): Buffer {
  const bytes = Buffer.alloc(4096);
  // https://www.gnu.org/software/grub/manual/multiboot/multiboot.html#Header-layout
  const flags = 0x0001_0000;
  const load = 0x10_0000;
  const words = [
    0x1bad_b002,
    flags,
    -(0x1bad_b002 + flags) >>> 0,
    load,
    load,
    load + 4096,
    load + 4096,
    load + 64,
  ];
  for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, index * 4);
  bytes.set([0xfa, 0xf4, 0xeb, 0xfd], 64);
  return bytes;
}

describe("the boot watchdog", () => {
  it("tries a silent guest again, three times in all, and ends each machine", async () => {
    const { attempts, error } = await bootWith(haltingKernel());
    expect(attempts).toEqual([2, 3]);
    expect(error).toMatchObject({ code: "guest-silent" });
  });

  it("does not try again what QEMU refuses, and says what QEMU said", async () => {
    const { attempts, error } = await bootWith(Buffer.from("this is no kernel"));
    expect(attempts).toEqual([]);
    expect(error).toMatchObject({ message: expect.stringMatching(/kernel/) as string });
  });

  it("stops when it is told to", async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("enough")), 300);
    const { error } = await bootWith(haltingKernel(), controller.signal);
    expect(error).toMatchObject({ message: "enough" });
  });
});
