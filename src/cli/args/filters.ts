/** `--filter KEY=VALUE` of `events`. */
import { UsageError } from "../failure.ts";
import type { ContainerEvent } from "../library.ts";

/** As it was written, or without what is behind its name. */
function isImage(image: string, value: string): boolean {
  if (!image.startsWith(value)) return false;
  const rest = image.slice(value.length);
  // A colon of a registry's port has a path behind it.
  return rest === "" || rest.startsWith("@") || (rest.startsWith(":") && !rest.includes("/"));
}

/** `KEY`, or `KEY=VALUE`. */
function isLabelled(labels: Readonly<Record<string, string>>, text: string): boolean {
  const [key = "", value] = text.split(/=(.*)/s, 2);
  return Object.hasOwn(labels, key) && (value === undefined || labels[key] === value);
}

const EVENT_TESTS: Readonly<Record<string, (event: ContainerEvent, value: string) => boolean>> = {
  container: ({ id, attributes }, value) => attributes["name"] === value || id.startsWith(value),
  event: ({ action }, value) => action === value,
  image: ({ attributes }, value) => isImage(attributes["image"] ?? "", value),
  label: ({ labels }, value) => isLabelled(labels, value),
  type: ({ type }, value) => type === value,
};

export const EVENT_KEYS: readonly string[] = Object.keys(EVENT_TESTS);

/** Values of one key are alternatives; different keys have all to fit. @throws UsageError */
export function parseEventFilters(texts: readonly string[]): (event: ContainerEvent) => boolean {
  const byKey = new Map<string, string[]>();
  for (const text of texts) {
    const [key = "", value = ""] = text.split(/=(.*)/s, 2);
    if (!Object.hasOwn(EVENT_TESTS, key))
      throw new UsageError(
        `--filter '${text}' is not a filter`,
        `write KEY=VALUE; keys are ${EVENT_KEYS.join(", ")}`,
      );
    byKey.set(key, [...(byKey.get(key) ?? []), value]);
  }
  return (event) =>
    [...byKey].every(([key, values]) => values.some((value) => EVENT_TESTS[key]?.(event, value)));
}
