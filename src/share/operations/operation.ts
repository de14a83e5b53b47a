/** What every operation is given, and has to give. */
import type { HomeDevice } from "../attributes.ts";
import type { Request } from "../fuse/message.ts";
import type { HandleTable } from "../handles.ts";
import type { NodeTable } from "../nodes.ts";

export interface Tree {
  readonly nodes: NodeTable;
  readonly handles: HandleTable;
  readonly readonly: boolean;
  readonly home: HomeDevice;
  /** Whether new files get their owner from the guest's process: only root may give files away. */
  readonly givesOwners: boolean;
}

/** @returns a reply with room for its header, or undefined for a request that has none; throws what is refused */
export type Operation = (tree: Tree, request: Request) => Promise<Buffer | undefined>;

/** Bits of a mode that a guest may set on the host: never set-user-id, never set-group-id. */
export const GIVEN_MODE = 0o1777;
/** What it may not. */
export const SET_ID_MODE = 0o6000;
