/**
 * Text from outside as one short line for messages: control, format and unassigned characters become
 * `\u{…}`, so that nothing can move the cursor, change colours or turn the writing direction of a terminal.
 */
export function printable(text: string, maxLength = 240): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  return cut.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}

/** The same in double quotes, with quotes and backslashes inside escaped. */
export function quote(text: string, maxLength = 160): string {
  return `"${printable(text.replace(/["\\]/g, "\\$&"), maxLength)}"`;
}
