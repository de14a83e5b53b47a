/** Maps to `PUT /snapshot/create` and `PUT /snapshot/load`. */
import type { ApiClient } from "./client.ts";

/** All of the memory is read and written, which takes as long as the host's disk does. */
const CREATE_DEADLINE_MS = 120_000;
const LOAD_DEADLINE_MS = 30_000;

export interface SnapshotFiles {
  readonly snapshot_path: string;
  readonly mem_file_path: string;
}

/** Of a machine that is paused; both files are made, or written over. @throws MachineError `snapshot-refused` */
export async function createSnapshot(api: ApiClient, files: SnapshotFiles): Promise<void> {
  await api.send({
    method: "PUT",
    path: "/snapshot/create",
    body: { snapshot_type: "Full", ...files },
    refusal: "snapshot-refused",
    deadlineMs: CREATE_DEADLINE_MS,
  });
}

export interface SnapshotLoad extends SnapshotFiles {
  /** Tap devices in place of those that the saved machine had. */
  readonly network_overrides?: readonly { readonly iface_id: string; readonly host_dev_name: string }[];
}

/**
 * Into a VMM that has not been configured. The memory file is mapped, and copied page by page when the guest
 * writes; the machine stays paused.
 * @throws MachineError `snapshot-refused`
 */
export async function loadSnapshot(api: ApiClient, load: SnapshotLoad): Promise<void> {
  const { snapshot_path, mem_file_path, network_overrides = [] } = load;
  await api.send({
    method: "PUT",
    path: "/snapshot/load",
    body: {
      snapshot_path,
      mem_backend: { backend_type: "File", backend_path: mem_file_path },
      resume_vm: false,
      ...(network_overrides.length > 0 && { network_overrides }),
    },
    refusal: "snapshot-refused",
    deadlineMs: LOAD_DEADLINE_MS,
  });
}
