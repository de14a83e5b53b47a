/**
 * `--filter NAME=VALUE`, as Docker has it for images. Filters of one name are alternatives, except labels; those of
 * different names must all be met. https://docs.docker.com/reference/cli/docker/image/ls/#filter
 */
import { parseConfig } from "../oci/config.ts";
import { familiar, familiarName, parse } from "../reference/reference.ts";
import { readBlob } from "../store/blobs.ts";
import type { Store } from "../store/layout.ts";
import { quote } from "../util/printable.ts";
import { ImageError } from "./error.ts";
import { parseGlob } from "./glob.ts";
import type { Glob } from "./glob.ts";
import { requireImage } from "./images.ts";
import type { Image } from "./images.ts";
import { isUnnamed } from "./names.ts";

const NAMES = ["before", "dangling", "label", "label!", "reference", "since", "until"] as const;
type FilterName = (typeof NAMES)[number];

export interface Filter {
  readonly name: FilterName;
  readonly value: string;
}

function invalid(text: string, problem: string, hint: string): ImageError {
  return new ImageError("invalid-filter", `filter ${quote(text)}: ${problem}`, { hint });
}

/** @param names those that have a meaning where it is asked @throws ImageError `invalid-filter` */
export function parseFilters(texts: readonly string[], names: readonly FilterName[] = NAMES): Filter[] {
  return texts.map((text) => {
    const [, name = "", value = ""] = /^(label!|[a-z]+)=([\s\S]*)$/.exec(text) ?? [];
    if (!(names as readonly string[]).includes(name))
      throw invalid(text, "there is no such filter", `write NAME=VALUE; names are ${names.join(", ")}`);
    if (value === "") throw invalid(text, "its value is missing", `write ${name}=VALUE`);
    if (name === "dangling" && !/^(?:true|false|1|0)$/.test(value))
      throw invalid(text, "it takes true or false", "dangling=true shows images without a name");
    if (name === "until" && instantOf(value, 0) === undefined)
      throw invalid(text, "it is no time", "write a duration such as 24h, or a date such as 2026-01-31");
    if (name === "reference" && parseGlob(value) === undefined)
      throw invalid(text, "it is no pattern", "a [ needs its ], and a \\ something behind it");
    return { name: name as FilterName, value };
  });
}

const UNITS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 };

/** A date, seconds since the epoch, or how long ago: `1h30m`. */
export function instantOf(text: string, nowMs: number): number | undefined {
  if (/^\d{9,12}$/.test(text)) return Number(text) * 1000;
  const parts = [...text.matchAll(/(\d+)([dhms])/g)];
  if (parts.length > 0 && parts.map(([whole]) => whole).join("") === text)
    return nowMs - parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS[unit ?? ""] ?? 0), 0);
  const ms = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

function isReferenced(image: Image, glob: Glob): boolean {
  const reference = parse(image.reference);
  const names = [familiar(reference), image.reference];
  const bare = [familiarName(reference), `${reference.registry}/${reference.repository}`];
  return [...names, ...bare].some((name) => glob(name));
}

async function labelsOf(store: Store, image: Image): Promise<Readonly<Record<string, string>>> {
  const bytes = await readBlob(store, image.configDigest);
  return (bytes && parseConfig(bytes).config?.Labels) ?? {};
}

/** @param wanted `KEY` or `KEY=VALUE` */
export function hasLabel(labels: Readonly<Record<string, string>>, wanted: string): boolean {
  const equals = wanted.indexOf("=");
  if (equals === -1) return Object.hasOwn(labels, wanted);
  const key = wanted.slice(0, equals);
  return Object.hasOwn(labels, key) && labels[key] === wanted.slice(equals + 1);
}

function createdMs({ createdAt }: Image): number {
  return createdAt === undefined ? 0 : Date.parse(createdAt);
}

type Predicate = (image: Image) => Promise<boolean>;

async function predicateOf(store: Store, { name, value }: Filter, nowMs: number): Promise<Predicate> {
  switch (name) {
    case "dangling":
      return async (image) => isUnnamed(parse(image.reference)) === /^(?:true|1)$/.test(value);
    case "reference": {
      const glob = parseGlob(value) ?? (() => false);
      return async (image) => isReferenced(image, glob);
    }
    case "label":
      return async (image) => hasLabel(await labelsOf(store, image), value);
    case "label!":
      return async (image) => !hasLabel(await labelsOf(store, image), value);
    case "until":
      return async (image) => createdMs(image) < (instantOf(value, nowMs) ?? 0);
    default: {
      const limit = createdMs(await requireImage(store, value));
      return name === "before"
        ? async (image) => createdMs(image) < limit
        : async (image) => createdMs(image) > limit;
    }
  }
}

/**
 * Those that meet the filters.
 * @throws ImageError `image-not-found` when before= or since= name none
 */
export async function filterImages(
  store: Store,
  images: readonly Image[],
  filters: readonly Filter[],
  nowMs: number = Date.now(),
): Promise<Image[]> {
  const groups: Predicate[] = [];
  for (const name of new Set(filters.map((filter) => filter.name))) {
    const predicates: Predicate[] = [];
    for (const filter of filters)
      if (filter.name === name) predicates.push(await predicateOf(store, filter, nowMs));
    const isEvery = name === "label" || name === "label!";
    groups.push(async (image) => {
      const results = await Promise.all(predicates.map((predicate) => predicate(image)));
      return isEvery ? results.every(Boolean) : results.some(Boolean);
    });
  }
  const kept: Image[] = [];
  for (const image of images) {
    const results = await Promise.all(groups.map((group) => group(image)));
    if (results.every(Boolean)) kept.push(image);
  }
  return kept;
}
