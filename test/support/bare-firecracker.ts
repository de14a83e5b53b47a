/** The least that a start on Firecracker can take: bare-firecracker.c, and what it is to be given. */
import { execFile } from "node:child_process";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { FrameType, GENERATION, encodeJson } from "../../src/agent/protocol/frame.ts";
import { enclosedCommand } from "../../src/machine/enclosure.ts";
import { KERNEL_ARGUMENTS } from "../../src/machine/firecracker/configure.ts";
import { TAP_DEVICE } from "../../src/machine/firecracker/vmm.ts";
import type { BootFiles, MachineShape, TemplateFiles } from "../../src/machine/machine.ts";
import { AGENT_PORT, TEMPLATE_MAC } from "../../src/machine/machine.ts";
import { compile } from "./compile.ts";

const execute = promisify(execFile);
/** As a template's machine knows its base disk; nothing is read of it. */
const PLACEHOLDER_BYTES = 2 ** 43;

/** Compiles it into a directory. @throws as `compile` */
export async function compileBare(dir: string): Promise<string> {
  return await compile("bare-firecracker", dir);
}

export interface BareOptions {
  /** What compileBare has made. */
  readonly bare: string;
  readonly firecracker: string;
  /** The agent's program, which makes the tap device of a machine with a network. */
  readonly helper: string;
  /** For files of these VMMs. */
  readonly dir: string;
  readonly shape: MachineShape;
}

/** Milliseconds from the spawn to the guest's first answer. */
export async function bareRestoreMs(options: BareOptions, files: TemplateFiles): Promise<number> {
  const backend = { backend_type: "File", backend_path: files.ramPath };
  const load = { snapshot_path: files.statePath, mem_backend: backend, resume_vm: true };
  return await bareMs(options, [["/snapshot/load", load]]);
}

/** The same machine, without disks. */
export async function bareBootMs(options: BareOptions, boot: BootFiles): Promise<number> {
  const { cpus, memoryMib, network } = options.shape;
  return await bareMs(options, [
    ["/machine-config", { vcpu_count: cpus, mem_size_mib: memoryMib }],
    [
      "/boot-source",
      { kernel_image_path: boot.kernelPath, initrd_path: boot.initramfsPath, boot_args: KERNEL_ARGUMENTS },
    ],
    ["/vsock", { guest_cid: 3, uds_path: "v.sock" }],
    ["/entropy", {}],
    ...(network
      ? [
          [
            "/network-interfaces/eth0",
            { iface_id: "eth0", host_dev_name: TAP_DEVICE, guest_mac: TEMPLATE_MAC },
          ] as const,
        ]
      : []),
    ["/actions", { action_type: "InstanceStart" }],
  ]);
}

async function bareMs(
  { bare, firecracker, helper, dir, shape }: BareOptions,
  requests: readonly (readonly [path: string, body: object])[],
): Promise<number> {
  const own = await mkdtemp(join(dir, "bare-"));
  try {
    const [asked, hello] = [join(own, "requests"), join(own, "hello")];
    await writeFile(asked, requests.map(([path, body]) => `PUT ${path} ${JSON.stringify(body)}\n`).join(""));
    await writeFile(hello, encodeJson(FrameType.hello, 0, { generation: GENERATION }));
    for (const [name, sizeBytes] of [
      ["base", PLACEHOLDER_BYTES],
      ["scratch", shape.storageBytes],
    ] as const) {
      await using handle = await open(join(own, name), "wx");
      await handle.truncate(sizeBytes);
    }
    const vmm = [firecracker, "--api-sock", "api.sock", "--level", "Warning"];
    const tap = { name: TAP_DEVICE, uid: process.geteuid?.() ?? 0 };
    const command = shape.network ? await enclosedCommand(vmm, { helper, tap }) : vmm;
    const { stdout } = await execute(bare, [own, asked, hello, String(AGENT_PORT), ...command]);
    return Number(stdout);
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}
