/** What can be wrong with an archive. Every failure names the entry it was met in and the byte it was met at. */
import { FlameBoxError } from "../../util/error.ts";

export type TarErrorCode =
  | "tar-bad-checksum"
  | "tar-bad-number"
  | "tar-bad-pax"
  | "tar-bad-sparse"
  | "tar-extension-too-large"
  | "tar-lone-zero-block"
  | "tar-name-too-long"
  | "tar-truncated"
  | "tar-unknown-type";

export class TarError extends FlameBoxError {
  override readonly name = "TarError";
  declare readonly code: TarErrorCode;
  /** Offset in the (inflated) archive of the header or record that is wrong. */
  readonly offset: number;

  constructor(code: TarErrorCode, what: string, offset: number, entryName?: Uint8Array) {
    const entry =
      entryName === undefined || entryName.length === 0 ? "" : ` in entry ${printable(entryName)}`;
    super(code, `tar archive: ${what}${entry} (at byte ${offset})`);
    this.offset = offset;
  }
}

const PRINTED_BYTES = 200;

/** Bytes from an archive, quoted for a message: bounded, and without anything a terminal would obey. */
export function printable(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes.subarray(0, PRINTED_BYTES)) {
    if (byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return bytes.length > PRINTED_BYTES ? `"${text}…"` : `"${text}"`;
}
