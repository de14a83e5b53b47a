/** Platforms. https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md#image-index-property-descriptions */
import { quote } from "../util/printable.ts";
import { OciError } from "./error.ts";

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
}

const COMPONENT = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** Other spellings of GOARCH, with the variant that they imply. */
const ARCHITECTURE_ALIASES = new Map<string, { architecture: string; variant?: string }>([
  ["x86_64", { architecture: "amd64" }],
  ["x86-64", { architecture: "amd64" }],
  ["x64", { architecture: "amd64" }],
  ["i386", { architecture: "386" }],
  ["ia32", { architecture: "386" }],
  ["aarch64", { architecture: "arm64" }],
  ["armhf", { architecture: "arm", variant: "v7" }],
  ["armel", { architecture: "arm", variant: "v6" }],
  ["ppc64el", { architecture: "ppc64le" }],
]);

/** Variants that mean the same as none. */
const DEFAULT_VARIANTS = new Map([
  ["amd64", "v1"],
  ["arm64", "v8"],
]);

/** One spelling for each platform: GOOS/GOARCH words, lower case, `v7` for arm, no variant where it is the default. */
export function normalize({ os, architecture, variant }: Platform): Platform {
  const lower = architecture.toLowerCase();
  const alias = ARCHITECTURE_ALIASES.get(lower);
  const name = alias?.architecture ?? lower;
  let version = (variant ?? "").toLowerCase() || alias?.variant;
  if (version !== undefined && /^[0-9]$/.test(version)) version = `v${version}`;
  if (name === "arm") version ??= "v7";
  if (version === DEFAULT_VARIANTS.get(name)) version = undefined;
  return { os: os.toLowerCase(), architecture: name, ...(version === undefined ? {} : { variant: version }) };
}

/**
 * `linux/arm64/v8`, `linux/amd64`.
 * @throws OciError `invalid-platform`
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  const [os, architecture, variant] = parts;
  if (parts.length < 2 || parts.length > 3 || !parts.every((part) => COMPONENT.test(part))) {
    const message = `not a platform: ${quote(text)}`;
    throw new OciError("invalid-platform", message, {
      hint: "write OS/ARCHITECTURE, for example linux/amd64",
    });
  }
  return normalize({ os: os ?? "", architecture: architecture ?? "", variant });
}

/** The platform of images that run on a host of this `process.arch`: guests are always Linux. */
export function hostPlatform(nodeArchitecture: string): Platform {
  const architecture = nodeArchitecture === "ppc64" ? "ppc64le" : nodeArchitecture;
  return normalize({ os: "linux", architecture });
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return `${os}/${architecture}${variant ? `/${variant}` : ""}`;
}

/**
 * How well an image for `offered` runs on `wanted`: 0 is exact, more is an older variant, undefined is not
 * at all. An arm v7 runs v6 and v5, an amd64 v3 runs v2 and v1; never a newer one.
 */
export function mismatchOf(wanted: Platform, offered: Platform): number | undefined {
  const want = normalize(wanted);
  const offer = normalize(offered);
  if (want.os !== offer.os || want.architecture !== offer.architecture) return undefined;
  if (want.variant === offer.variant) return 0;
  const implied = DEFAULT_VARIANTS.get(want.architecture);
  const wantLevel = /^v([0-9])$/.exec(want.variant ?? implied ?? "")?.[1];
  const offerLevel = /^v([0-9])$/.exec(offer.variant ?? implied ?? "")?.[1];
  if (wantLevel === undefined || offerLevel === undefined) return undefined;
  const steps = Number(wantLevel) - Number(offerLevel);
  return steps > 0 ? steps : undefined;
}
