/** What Firecracker is told of a machine, on a VMM's way from its API to its start. */
import type { BootFiles, MachineConfig } from "../machine.ts";
import { putBootSource } from "./api/boot-source.ts";
import { putDrive } from "./api/drive.ts";
import { putEntropy } from "./api/entropy.ts";
import { putMachineConfig } from "./api/machine-config.ts";
import { putNetworkInterface } from "./api/network-interface.ts";
import { putVsock } from "./api/vsock.ts";
import { tuneMachine } from "./tuning.ts";
import type { FirecrackerMachine } from "./vmm.ts";
import { BASE_DRIVE, SCRATCH_DRIVE, TAP_DEVICE, VSOCK_SOCKET } from "./vmm.ts";

/** The smallest that a guest may have; nobody sees it but the guest. */
const GUEST_CID = 3;

/**
 * Nothing a user wrote is ever part of it. `reboot=k`: a restart, by the keyboard controller, is the only way that a
 * machine ends by itself. There is one serial port, and a keyboard controller without a keyboard.
 */
export const KERNEL_ARGUMENTS =
  "console=ttyS0 quiet panic=-1 reboot=k net.ifnames=0 random.trust_cpu=on 8250.nr_uarts=1 " +
  "i8042.noaux i8042.nomux i8042.dumbkbd";

/** All that a machine has but its disks and its network. */
export async function putCommon(
  { api, place, version, tuning }: FirecrackerMachine,
  boot: BootFiles,
  { cpus, memoryMib }: Pick<MachineConfig, "cpus" | "memoryMib">,
): Promise<void> {
  const { cpuTemplate, limits } = tuning;
  await putMachineConfig(api, {
    vcpu_count: cpus,
    mem_size_mib: memoryMib,
    ...(cpuTemplate !== undefined && { cpu_template: cpuTemplate }),
  });
  await putBootSource(api, {
    kernel_image_path: await place.lend(boot.kernelPath),
    initrd_path: await place.lend(boot.initramfsPath),
    boot_args: KERNEL_ARGUMENTS,
  });
  // Relative: a restored machine makes its socket in the directory of its own VMM.
  await putVsock(api, { guest_cid: GUEST_CID, uds_path: VSOCK_SOCKET });
  await putEntropy(api, { rate_limiter: limits?.entropy });
  await tuneMachine(api, version, tuning);
}

export async function putBase({ api, tuning }: FirecrackerMachine, path: string): Promise<void> {
  await putDrive(api, {
    drive_id: BASE_DRIVE,
    path_on_host: path,
    is_read_only: true,
    is_root_device: false,
    rate_limiter: tuning.limits?.base,
  });
}

export async function putScratch({ api, tuning }: FirecrackerMachine, path: string): Promise<void> {
  // What is on it ends with the container, so nothing is gained by waiting for the host's disk: `Unsafe`.
  await putDrive(api, {
    drive_id: SCRATCH_DRIVE,
    path_on_host: path,
    is_read_only: false,
    is_root_device: false,
    cache_type: "Unsafe",
    rate_limiter: tuning.limits?.scratch,
  });
}

export async function putNetwork({ api, tuning }: FirecrackerMachine, mac: string): Promise<void> {
  await putNetworkInterface(api, {
    iface_id: "eth0",
    host_dev_name: TAP_DEVICE,
    guest_mac: mac,
    rx_rate_limiter: tuning.limits?.received,
    tx_rate_limiter: tuning.limits?.sent,
  });
}
