import { FlameBoxError } from "../util/error.ts";

/**
 * A layer or a tree that cannot become a root file system. Codes: `invalid-layer` (one entry cannot be
 * applied), `invalid-tree` (the result breaks a rule), `rootfs-too-large`, `invalid-disk`, `not-in-rootfs`.
 */
export class RootfsError extends FlameBoxError {
  override readonly name = "RootfsError";
}

const MAX_PRINTED = 200;

/**
 * A name out of an image, made safe to print: as UTF-8 where it is, quoted, without control, format or
 * unassigned characters (they could rewrite the terminal's line), and cut.
 */
export function printable(latin1: string): string {
  const text = Buffer.from(latin1.slice(0, 4 * MAX_PRINTED), "latin1").toString("utf8");
  const cut = text.length > MAX_PRINTED ? `${text.slice(0, MAX_PRINTED)}…` : text;
  return JSON.stringify(cut).replaceAll(/\p{C}/gu, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}
