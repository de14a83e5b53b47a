/**
 * What an image as a whole may take. Each layer has bounds of its own (rootfs/convert.ts), and an image may have many
 * layers: a bomb of 127 parts would pass all of them.
 *
 *     layer being converted ─► grown to … ─► sum over all layers ─► more than allowed, or too little disk left? ─► the pull ends
 */
import type { Growth } from "../rootfs/convert.ts";
import { BLOCK_SIZE } from "../rootfs/layer-index.ts";
import type { LayerIndex } from "../rootfs/layer-index.ts";
import type { Store } from "../store/layout.ts";
import { requireRoom } from "../store/room.ts";
import { ImageError } from "./error.ts";

export interface ImageLimits {
  /** Of all layers' archives, unpacked. Default 128 GiB. */
  readonly maxBytes?: number | undefined;
  /** Of all layers. Default 10,000,000. */
  readonly maxEntries?: number | undefined;
}

export const DEFAULT_IMAGE_LIMITS = {
  maxBytes: 128 * 2 ** 30,
  maxEntries: 10_000_000,
};

/** The disk is looked at whenever so much has come to it. */
export const LOOK_BYTES = 64 * 2 ** 20;

export class ImageBudget {
  readonly #store: Store;
  readonly #limits: { readonly maxBytes: number; readonly maxEntries: number };
  #bytes = 0;
  #entries = 0;
  #lookAtBytes = LOOK_BYTES;

  constructor(store: Store, { maxBytes, maxEntries }: ImageLimits = {}) {
    this.#store = store;
    this.#limits = {
      maxBytes: maxBytes ?? DEFAULT_IMAGE_LIMITS.maxBytes,
      maxEntries: maxEntries ?? DEFAULT_IMAGE_LIMITS.maxEntries,
    };
  }

  get maxBytes(): number {
    return this.#limits.maxBytes;
  }

  /** Counts a layer that is here already. @throws ImageError `image-too-large` */
  addKept({ blobBlocks, entryCount }: LayerIndex): void {
    this.#add(blobBlocks * BLOCK_SIZE, entryCount);
  }

  /**
   * For one layer, which tells how far it has grown.
   * @throws ImageError `image-too-large`; StoreError `disk-full`
   */
  meter(): (growth: Growth) => void {
    let counted: Growth = { tarBytes: 0, entryCount: 0 };
    return (growth) => {
      const { tarBytes, entryCount } = counted;
      counted = growth;
      this.#add(growth.tarBytes - tarBytes, growth.entryCount - entryCount);
      if (this.#bytes < this.#lookAtBytes) return;
      this.#lookAtBytes = this.#bytes + LOOK_BYTES;
      requireRoom(this.#store, 0);
    };
  }

  #add(bytes: number, entries: number): void {
    this.#bytes += bytes;
    this.#entries += entries;
    const { maxBytes, maxEntries } = this.#limits;
    if (this.#bytes > maxBytes)
      throw tooLarge(
        `its layers unpack to more than ${maxBytes} bytes`,
        "maxBytes",
        "FLAMEBOX_MAX_IMAGE_SIZE",
      );
    if (this.#entries > maxEntries)
      throw tooLarge(
        `its layers have more than ${maxEntries} entries`,
        "maxEntries",
        "FLAMEBOX_MAX_IMAGE_ENTRIES",
      );
  }
}

function tooLarge(what: string, option: string, variable: string): ImageError {
  return new ImageError("image-too-large", `the image is too large: ${what}`, {
    hint: `if it is to be trusted, allow more: ${variable}, or imageLimits.${option} in the library`,
  });
}
