import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseConfig } from "../../src/oci/config.ts";
import { OciError } from "../../src/oci/error.ts";
import { parseDocument } from "../../src/oci/manifest.ts";
import { MediaType } from "../../src/oci/media-type.ts";
import { isDigest } from "../../src/reference/digest.ts";

const options = { seed: 0x0c2, numRuns: 3000 };
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
const config = record({
  os: often("linux"),
  architecture: often("amd64"),
  config: fc.oneof(
    record({ Env: often(["A=b"]), Cmd: often(["x"]), Healthcheck: odd, Labels: odd, User: odd }),
    odd,
  ),
  rootfs: fc.oneof(fc.constant({ type: "layers", diff_ids: [digest] }), odd),
  history: odd,
});
/** Valid JSON with a few bytes changed, cut or put in. */
const damaged = (json: fc.Arbitrary<unknown>) =>
  fc.tuple(json, fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 2 })).map(([value, edits]) => {
    const bytes = Buffer.from(JSON.stringify(value) ?? "");
    for (const [at, byte] of edits) if (at < bytes.length) bytes[at] = byte;
    return bytes;
  });

function attempt<T>(parse: () => T): { value?: T; fault?: string | undefined } {
  try {
    return { value: parse() };
  } catch (error) {
    if (!(error instanceof OciError)) return { fault: `threw ${String(error)}` };
    const sound = error.message.length < 1000 && !/\p{Cc}/u.test(error.message);
    return { fault: sound ? undefined : `says ${error.message}` };
  }
}

test("any document is a manifest or an index with sound descriptors, or an OciError", () => {
  const types = fc.constantFrom(...Object.values(MediaType), "", "text/html");
  const contentType = fc.option(types, { nil: undefined });
  fc.assert(
    fc.property(
      fc.oneof(damaged(document), fc.uint8Array({ maxLength: 200 })),
      contentType,
      (bytes, type) => {
        const { value, fault } = attempt(() => parseDocument(bytes, type));
        expect(fault).toBeUndefined();
        const all = value?.kind === "index" ? value.manifests : value ? [value.config, ...value.layers] : [];
        const unsound = all.filter(
          ({ digest, size }) => !isDigest(digest) || !Number.isSafeInteger(size) || size < 0,
        );
        expect(unsound).toEqual([]);
      },
    ),
    options,
  );
});

test("any config is sound, or an OciError", () => {
  fc.assert(
    fc.property(fc.oneof(damaged(config), fc.uint8Array({ maxLength: 200 })), (bytes) => {
      const { value, fault } = attempt(() => parseConfig(bytes));
      expect(fault).toBeUndefined();
      expect(value?.rootfs.diff_ids.every(isDigest) ?? true).toBe(true);
      const strings = [...(value?.config?.Env ?? []), ...(value?.config?.Cmd ?? [])];
      expect(strings.filter((text) => text.includes("\0"))).toEqual([]);
    }),
    options,
  );
});
