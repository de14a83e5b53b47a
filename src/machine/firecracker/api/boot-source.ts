/** Maps to `PUT /boot-source`. */
import type { ApiClient } from "./client.ts";

export interface BootSource {
  /** An ELF file. */
  readonly kernel_image_path: string;
  readonly initrd_path: string;
  readonly boot_args: string;
}

/** @throws MachineError `boot-source-refused` */
export async function putBootSource(api: ApiClient, body: BootSource): Promise<void> {
  const files = [body.kernel_image_path, body.initrd_path];
  await api.send({ method: "PUT", path: "/boot-source", body, refusal: "boot-source-refused", files });
}
