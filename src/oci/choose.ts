/** The choice of a manifest from an index, for one platform. */
import type { Descriptor } from "./descriptor.ts";
import { printable } from "../util/printable.ts";
import { OciError } from "./error.ts";
import type { Index } from "./manifest.ts";
import { documentKindOf } from "./media-type.ts";
import { formatPlatform, mismatchOf, normalize } from "./platform.ts";
import type { Platform } from "./platform.ts";

/** At most this many platforms are named in a message. */
const MAX_NAMED = 12;

/**
 * BuildKit puts provenance and SBOM documents into the index as manifests of their own.
 * https://docs.docker.com/build/metadata/attestations/attestation-storage/
 */
function isAttestation({ annotations, platform }: Descriptor): boolean {
  if (annotations && Object.hasOwn(annotations, "vnd.docker.reference.type")) return true;
  return platform?.os === "unknown" && platform.architecture === "unknown";
}

function notFound(candidates: readonly Descriptor[], wanted: Platform, name: string): OciError {
  const offered = candidates.flatMap(({ platform }) => platform ?? []);
  const names = [
    ...new Set(offered.map((platform) => printable(formatPlatform(normalize(platform))))),
  ].sort();
  const shown = names.slice(0, MAX_NAMED).join(", ");
  const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : "";
  const available = names.length === 0 ? "it names no platform" : `it has ${shown}${more}`;
  return new OciError(
    "platform-not-found",
    `image ${name} has nothing for ${formatPlatform(wanted)}: ${available}`,
    { hint: names.length === 0 ? undefined : "choose one of these platforms, or another image" },
  );
}

/**
 * The entry of `index` that fits `wanted` best; the first one where several fit alike. A single entry
 * without a platform is taken as it is: its config tells later.
 * @throws OciError `platform-not-found`, naming what there is
 */
export function choose(index: Index, wanted: Platform, name = "index"): Descriptor {
  const candidates = index.manifests.filter(
    (entry) => documentKindOf(entry.mediaType) === "manifest" && !isAttestation(entry),
  );
  let best: Descriptor | undefined;
  let bestMismatch = Infinity;
  for (const entry of candidates) {
    const mismatch = entry.platform ? mismatchOf(wanted, entry.platform) : undefined;
    if (mismatch === undefined || mismatch >= bestMismatch) continue;
    best = entry;
    bestMismatch = mismatch;
  }
  const [only] = candidates;
  if (!best && candidates.length === 1 && only && !only.platform) return only;
  if (!best) throw notFound(candidates, wanted, name);
  return best;
}

/**
 * For images without an index, and for what `choose` took unseen: the config's own platform must fit. With
 * nothing to choose from, variants are no reason to refuse: hosts seldom know their own level.
 * @throws OciError `platform-not-found`
 */
export function requirePlatform(offered: Platform, wanted: Platform, name: string): void {
  const want = normalize(wanted);
  const got = normalize(offered);
  if (got.os === want.os && got.architecture === want.architecture) return;
  const offer = printable(formatPlatform(got));
  throw new OciError(
    "platform-not-found",
    `image ${name} is for ${offer}, not for ${formatPlatform(wanted)}`,
    { hint: "choose an image that was built for this platform" },
  );
}
