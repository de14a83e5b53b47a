/**
 * Image configs. https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md
 *
 * The type keeps the document's spelling. Fields that FlameBox does not know (ArgsEscaped, Docker's
 * `container_config`) are dropped; null is absence.
 */
import * as v from "valibot";
import { digestSchema } from "./descriptor.ts";
import { OciError } from "./error.ts";
import { parseJson } from "./json.ts";
import { problemOf } from "./problem.ts";

export const MAX_CONFIG_BYTES = 8 * 1024 * 1024;
const MAX_DIFF_IDS = 1000;
const MAX_HISTORY = 10_000;
/** As many as a Linux execve takes at the very most: 2 MiB of arguments in all, one byte each. */
const MAX_STRINGS = 100_000;

/** What ends up in argv, environ or a path cannot hold NUL: it would be cut there, and mean another thing. */
const cString = v.pipe(
  v.string(),
  v.check((text) => !text.includes("\0"), "contains a NUL"),
);
const cStrings = v.pipe(v.array(cString), v.maxLength(MAX_STRINGS));
/** Go's `map[string]struct{}`: only the names count. */
const nameSet = v.record(cString, v.unknown());
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const healthcheckSchema = v.object({
  // `[]` inherit, `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", command]`.
  Test: v.optional(cStrings),
  // The four durations are nanoseconds; 0 is the default.
  Interval: v.optional(count),
  Timeout: v.optional(count),
  StartPeriod: v.optional(count),
  StartInterval: v.optional(count),
  Retries: v.optional(count),
});

const executionSchema = v.object({
  User: v.optional(cString),
  ExposedPorts: v.optional(nameSet),
  Env: v.optional(cStrings),
  Entrypoint: v.optional(cStrings),
  Cmd: v.optional(cStrings),
  Volumes: v.optional(nameSet),
  WorkingDir: v.optional(cString),
  Labels: v.optional(v.record(v.string(), v.string())),
  StopSignal: v.optional(cString),
  Healthcheck: v.optional(healthcheckSchema),
  Shell: v.optional(cStrings),
});

const historySchema = v.object({
  created: v.optional(v.string()),
  created_by: v.optional(v.string()),
  author: v.optional(v.string()),
  comment: v.optional(v.string()),
  empty_layer: v.optional(v.boolean()),
});

const word = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, "no platform word"));

const configSchema = v.object({
  created: v.optional(v.pipe(v.string(), v.maxLength(64))),
  author: v.optional(v.string()),
  architecture: word,
  os: word,
  // Some builders write an empty variant.
  variant: v.optional(v.union([v.literal(""), word])),
  config: v.optional(executionSchema),
  rootfs: v.object({
    type: v.literal("layers"),
    diff_ids: v.pipe(v.array(digestSchema), v.maxLength(MAX_DIFF_IDS)),
  }),
  history: v.optional(v.pipe(v.array(historySchema), v.maxLength(MAX_HISTORY))),
});

/** How the image wants to be run: the `config` object of an image config. */
export type ExecutionConfig = v.InferOutput<typeof executionSchema>;
export type Healthcheck = v.InferOutput<typeof healthcheckSchema>;
export type HistoryEntry = v.InferOutput<typeof historySchema>;
export type ImageConfig = v.InferOutput<typeof configSchema>;

/** @throws OciError `invalid-config` */
export function parseConfig(bytes: Uint8Array): ImageConfig {
  const limits = { maxBytes: MAX_CONFIG_BYTES, what: "image config", code: "invalid-config" };
  const parsed = v.safeParse(configSchema, parseJson(bytes, limits));
  if (parsed.success) return parsed.output;
  throw new OciError("invalid-config", `image config is not acceptable: ${problemOf(parsed.issues)}`);
}
