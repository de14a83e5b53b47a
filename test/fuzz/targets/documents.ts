/** Manifests, indexes and configs: what is read is sound, everything else is an OciError that can be shown. */
import * as fc from "fast-check";
import { parseConfig } from "../../../src/oci/config.ts";
import { OciError } from "../../../src/oci/error.ts";
import { parseDocument } from "../../../src/oci/manifest.ts";
import { MediaType } from "../../../src/oci/media-type.ts";
import { isDigest } from "../../../src/reference/digest.ts";
import { choiceOf, demand, parsedOr, withChoice } from "../target.ts";
import type { FuzzTarget } from "../target.ts";

const digest = `sha256:${"ab".repeat(32)}`;
const odd = fc.oneof(
  fc.constantFrom<unknown>(null, 0, -1, 1.5, 2 ** 53, "", [], {}, digest, "sha256:../x", true),
  fc.jsonValue({ maxDepth: 2 }),
);
/** Mostly the good value, sometimes an odd one. */
const often = (value: unknown) =>
  fc.oneof({ weight: 8, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: odd });
const record = (fields: Record<string, fc.Arbitrary<unknown>>) => fc.record(fields, { requiredKeys: [] });

const descriptor = (mediaType: string) =>
  record({
    mediaType: often(mediaType),
    digest: often(digest),
    size: often(7),
    platform: odd,
    annotations: odd,
  });
const layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip");
const document = record({
  schemaVersion: often(2),
  mediaType: fc.oneof(...Object.values(MediaType).map(often)),
  config: descriptor(MediaType.ociConfig),
  layers: fc.oneof(fc.array(layer, { maxLength: 3 }), odd),
  manifests: fc.oneof(fc.array(descriptor(MediaType.ociManifest), { maxLength: 3 }), odd),
});
const imageConfig = record({
  os: often("linux"),
  architecture: often("amd64"),
  config: fc.oneof(
    record({ Env: often(["A=b"]), Cmd: often(["x"]), Healthcheck: odd, Labels: odd, User: odd }),
    odd,
  ),
  rootfs: fc.oneof(fc.constant({ type: "layers", diff_ids: [digest] }), odd),
  history: odd,
});
/** Valid JSON with a few bytes changed; or no JSON at all. */
const damaged = (json: fc.Arbitrary<unknown>): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc.tuple(json, fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 2 })).map(([value, edits]) => {
      const bytes = Buffer.from(JSON.stringify(value) ?? "");
      for (const [at, byte] of edits) if (at < bytes.length) bytes[at] = byte;
      return bytes;
    }),
    fc.uint8Array({ maxLength: 200 }),
  );

const TYPES = [undefined, ...Object.values(MediaType), "", "text/html"];

export const manifest: FuzzTarget = {
  name: "manifest",
  inputs: withChoice(TYPES.length, damaged(document)),
  check(input) {
    const { choice, rest } = choiceOf(input, TYPES.length);
    const value = parsedOr(OciError, () => parseDocument(rest, TYPES[choice]));
    const all = value?.kind === "index" ? value.manifests : value ? [value.config, ...value.layers] : [];
    for (const { digest: name, size } of all)
      demand(
        isDigest(name) && Number.isSafeInteger(size) && size >= 0,
        () => `took ${name} of ${size} bytes`,
      );
  },
};

export const config: FuzzTarget = {
  name: "config",
  inputs: damaged(imageConfig),
  check(input) {
    const value = parsedOr(OciError, () => parseConfig(input));
    for (const diffId of value?.rootfs.diff_ids ?? []) demand(isDigest(diffId), () => `took ${diffId}`);
    const strings = [...(value?.config?.Env ?? []), ...(value?.config?.Cmd ?? [])];
    for (const word of strings) demand(!word.includes("\0"), () => `took a NUL: ${word}`);
  },
};
