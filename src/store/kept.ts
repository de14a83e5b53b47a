/**
 * What containers that stay were made of: each has a record in `containers/ID/container.json`, which names its image.
 * What else is in it is not the store's business.
 */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { digestSchema } from "../oci/descriptor.ts";
import { systemCode } from "../util/error.ts";
import type { Store, StoredName } from "./layout.ts";
import { namesOf } from "./records.ts";

const keptSchema = v.object({
  image: v.object({
    manifestDigest: digestSchema,
    configDigest: digestSchema,
    diffIds: v.pipe(v.array(digestSchema), v.maxLength(1000)),
  }),
});

/** "unknown" when one of the records cannot be read. */
export async function namesOfContainers(store: Store): Promise<Set<StoredName> | "unknown"> {
  const names = new Set<StoredName>();
  const dir = join(store.layout.dir, "containers");
  for (const id of await readdir(dir).catch(() => [])) {
    try {
      const text = await readFile(join(dir, id, "container.json"), "utf8");
      for (const name of namesOf(v.parse(keptSchema, JSON.parse(text)).image)) names.add(name);
    } catch (error) {
      // One that leaves nothing behind; it has a lease.
      if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") continue;
      return "unknown";
    }
  }
  return names;
}
