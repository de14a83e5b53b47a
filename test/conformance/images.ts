/** The images that the table names, in a registry. */
import { pushVariants } from "../support/busybox-variant.ts";
import type { Base } from "./row.ts";
import { variants } from "./variants.ts";

/** References by the table's names; the variants come with busybox. */
export async function pushImages(registry: string, base: Base): Promise<Record<string, string>> {
  if (base === "debian") return { debian: `${registry}/flamebox/debian:12` };
  return { busybox: `${registry}/flamebox/busybox:1`, ...(await pushVariants(registry, variants)) };
}
