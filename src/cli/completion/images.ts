/** Image references as people type them. */

const DEFAULT_PREFIXES = ["docker.io/library/", "docker.io/"] as const;

/** `docker.io/library/alpine:3` is also offered as `alpine:3`; what could split a shell's words is left out. */
export function shortNames(images: readonly { readonly reference: string }[]): string[] {
  const names = images.map(({ reference }) => {
    const prefix = DEFAULT_PREFIXES.find((candidate) => reference.startsWith(candidate));
    return prefix === undefined ? reference : reference.slice(prefix.length);
  });
  return [...new Set(names)].filter((name) => /^[\w./:@+-]+$/.test(name)).sort();
}
