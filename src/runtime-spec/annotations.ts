/**
 * What an image says about itself, as annotations of config.json; its labels win over what is derived.
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/conversion.md#annotation-fields
 */
import type { ImageConfig } from "../oci/config.ts";

const PREFIX = "org.opencontainers.image.";
/** An image with more is run all the same: config.json has to go into one request to the guest. */
const MAX_ENTRIES = 500;
const MAX_CHARACTERS = 128 * 1024;

export interface ImageAnnotations {
  readonly annotations: Readonly<Record<string, string>>;
  /** Labels that are too many, or too long together. */
  readonly leftOut: number;
}

export function annotationsOfImage(image: ImageConfig): ImageAnnotations {
  const { Labels = {}, StopSignal, ExposedPorts } = image.config ?? {};
  const ports = Object.keys(ExposedPorts ?? {});
  const derived: readonly (readonly [string, string | undefined])[] = [
    ["os", image.os],
    ["architecture", image.architecture],
    ["variant", image.variant],
    ["author", image.author],
    ["created", image.created],
    ["stopSignal", StopSignal],
    ["exposedPorts", ports.length > 0 ? ports.join(",") : undefined],
  ];
  const entries = derived.flatMap(([name, value]) => (value ? [[PREFIX + name, value] as const] : []));
  // Derived ones first, so that it is labels that are left out.
  const wanted = new Map<string, string>([...entries, ...Object.entries(Labels)]);
  // A null prototype, so that a label named __proto__ is a label.
  const annotations = Object.create(null) as Record<string, string>;
  let characters = 0;
  let kept = 0;
  for (const [name, value] of wanted) {
    characters += name.length + value.length;
    if (name === "" || kept >= MAX_ENTRIES || characters > MAX_CHARACTERS) continue;
    annotations[name] = value;
    kept++;
  }
  return { annotations, leftOut: wanted.size - kept };
}
