import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/oci/config.ts";
import { layersOf } from "../../src/oci/layer.ts";
import { parseDocument, parseIndex, parseManifest } from "../../src/oci/manifest.ts";
import { compressionOf, documentKindOf, MediaType } from "../../src/oci/media-type.ts";
import { digestOf } from "../../src/reference/digest.ts";

const bytes = (value: unknown) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
const digest = digestOf("x");
const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size: 3 };
const config = { mediaType: MediaType.ociConfig, digest, size: 2 };
const manifest = { schemaVersion: 2, mediaType: MediaType.ociManifest, config, layers: [layer] };
const index = { schemaVersion: 2, mediaType: MediaType.ociIndex, manifests: [] };
const imageConfig = { os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: [digest] } };

function errorOf(job: () => unknown): { code?: string; message: string; hint?: string } | undefined {
  try {
    job();
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

describe("a manifest", () => {
  const good: readonly (readonly [name: string, value: unknown, contentType: string | undefined])[] = [
    ["that says what it is", manifest, undefined],
    ["delivered as what it is", manifest, MediaType.ociManifest],
    ["delivered with a parameter", manifest, `${MediaType.ociManifest}; charset=utf-8`],
    ["delivered as JSON", manifest, "application/json"],
    ["that leaves its type to the delivery", { ...manifest, mediaType: undefined }, MediaType.dockerManifest],
    ["that leaves its type to everybody", { ...manifest, mediaType: undefined }, undefined],
    ["with nulls", { ...manifest, annotations: null, subject: null }, undefined],
    ["with unknown fields", { ...manifest, extra: { deep: [1] } }, undefined],
    ["without layers", { ...manifest, layers: [] }, undefined],
    ["with 1000 layers", { ...manifest, layers: Array.from({ length: 1000 }, () => layer) }, undefined],
  ];
  test.each(good)("%s is read", (_, value, contentType) => {
    expect(parseDocument(bytes(value), contentType)).toMatchObject({ kind: "manifest", config });
  });

  const bad: readonly (readonly [name: string, value: unknown, code: string, says: string, type?: string])[] =
    [
      ["nothing", "", "invalid-manifest", "not JSON"],
      ["half of it", JSON.stringify(manifest).slice(0, 60), "invalid-manifest", "not JSON"],
      ["behind garbage", `x${JSON.stringify(manifest)}`, "invalid-manifest", "not JSON"],
      ["before garbage", `${JSON.stringify(manifest)}x`, "invalid-manifest", "not JSON"],
      ["with a byte order mark", `\ufeff${JSON.stringify(manifest)}`, "invalid-manifest", "not JSON"],
      ["null", "null", "invalid-manifest", "not an object"],
      ["a list", [manifest], "invalid-manifest", "not an object"],
      ["a number", 7, "invalid-manifest", "not an object"],
      ["of schema 3", { ...manifest, schemaVersion: 3 }, "invalid-manifest", "schemaVersion"],
      ["of schema 1", { schemaVersion: 1, fsLayers: [] }, "unsupported-media-type", "schema 1"],
      [
        "delivered as schema 1",
        manifest,
        "unsupported-media-type",
        "schema 1",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
      ],
      ["without a config", { ...manifest, config: undefined }, "invalid-manifest", "config"],
      ["without layers' list", { ...manifest, layers: undefined }, "invalid-manifest", "layers"],
      ["with layers that are no list", { ...manifest, layers: { 0: layer } }, "invalid-manifest", "layers"],
      [
        "with 1001 layers",
        { ...manifest, layers: Array.from({ length: 1001 }, () => layer) },
        "invalid-manifest",
        "1000",
      ],
      ["with a null layer", { ...manifest, layers: [null] }, "invalid-manifest", "layers.0"],
      ["that is also an index", { ...manifest, manifests: [] }, "invalid-manifest", "at once"],
      ["that is a config and an index", { ...index, config }, "invalid-manifest", "at once"],
      [
        "that calls itself an index",
        { ...manifest, mediaType: MediaType.ociIndex },
        "invalid-manifest",
        "fields of",
      ],
      ["delivered as an index", manifest, "invalid-manifest", "was delivered as", MediaType.ociIndex],
      ["delivered as Docker's", manifest, "invalid-manifest", "was delivered as", MediaType.dockerManifest],
      [
        "delivered as an index, silent itself",
        { ...manifest, mediaType: undefined },
        "invalid-manifest",
        "fields of",
        MediaType.ociIndex,
      ],
      ["with a type that is no string", { ...manifest, mediaType: 7 }, "invalid-manifest", "not a string"],
      ["of an unknown type", { ...manifest, mediaType: "a/b" }, "unsupported-media-type", '"a/b"'],
      [
        "of a chart",
        { ...manifest, config: { ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" } },
        "unsupported-media-type",
        "helm",
      ],
      [
        "with a foreign layer",
        {
          ...manifest,
          layers: [
            {
              ...layer,
              mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
              urls: ["http://x"],
            },
          ],
        },
        "unsupported-media-type",
        "kept elsewhere",
      ],
      [
        "with a nondistributable layer",
        {
          ...manifest,
          layers: [{ ...layer, mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" }],
        },
        "unsupported-media-type",
        "kept elsewhere",
      ],
      [
        "with a strange layer",
        { ...manifest, layers: [{ ...layer, mediaType: "text/plain" }] },
        "unsupported-media-type",
        "text/plain",
      ],
      [
        "with a media type that moves the cursor",
        { ...manifest, layers: [{ ...layer, mediaType: "a/\u001b[2J" }] },
        "invalid-manifest",
        "media type",
      ],
      [
        "with a digest that is a path",
        { ...manifest, config: { ...config, digest: "sha256:../../etc/passwd" } },
        "invalid-manifest",
        "config.digest",
      ],
      [
        "with an unknown algorithm",
        { ...manifest, config: { ...config, digest: "md5:00" } },
        "invalid-manifest",
        "config.digest",
      ],
      [
        "with an upper-case digest",
        { ...manifest, config: { ...config, digest: digest.toUpperCase() } },
        "invalid-manifest",
        "config.digest",
      ],
      [
        "with a digest that is no string",
        { ...manifest, config: { ...config, digest: 7 } },
        "invalid-manifest",
        "config.digest",
      ],
      [
        "with a negative size",
        { ...manifest, layers: [{ ...layer, size: -1 }] },
        "invalid-manifest",
        "layers.0.size",
      ],
      [
        "with a fraction of a byte",
        { ...manifest, layers: [{ ...layer, size: 1.5 }] },
        "invalid-manifest",
        "layers.0.size",
      ],
      [
        "with a size in words",
        { ...manifest, layers: [{ ...layer, size: "3" }] },
        "invalid-manifest",
        "layers.0.size",
      ],
      [
        "with a size beyond integers",
        JSON.stringify(manifest).replace('"size":3', '"size":1e300'),
        "invalid-manifest",
        "layers.0.size",
      ],
      [
        "with a layer of 2 TiB",
        { ...manifest, layers: [{ ...layer, size: 2 ** 41 }] },
        "invalid-manifest",
        "layers.0.size",
      ],
      [
        "with a config of 9 MiB",
        { ...manifest, config: { ...config, size: 9 << 20 } },
        "invalid-manifest",
        "config too large",
      ],
      [
        "with layers twice",
        JSON.stringify(manifest).replace("{", '{"layers":[],'),
        "invalid-manifest",
        '"layers" twice',
      ],
      [
        "with layers twice, once in disguise",
        JSON.stringify(manifest).replace("{", '{"lay\\u0065rs":[],'),
        "invalid-manifest",
        '"layers" twice',
      ],
      [
        "with a digest twice",
        JSON.stringify(manifest).replace('"digest"', '"digest":"x","digest"'),
        "invalid-manifest",
        '"digest" twice',
      ],
      ["nested 100 deep", `{"x":${"[".repeat(100)}${"]".repeat(100)}}`, "invalid-manifest", "64 deep"],
      ["nested a million deep", `${"[".repeat(1e6)}${"]".repeat(1e6)}`, "invalid-manifest", "manifest"],
      ["of 5 MiB", " ".repeat(5 << 20), "invalid-manifest", "too large"],
      [
        "with annotations that are no strings",
        { ...manifest, annotations: { a: 1 } },
        "invalid-manifest",
        "annotations.a",
      ],
    ];
  const rows = bad.map(([name, value, code, says, contentType]) => ({
    name,
    value,
    code,
    says,
    contentType,
  }));
  test.each(rows)("$name is refused", ({ value, code, says, contentType }) => {
    const error = errorOf(() => parseDocument(bytes(value), contentType));
    expect(error).toMatchObject({ code, message: expect.stringContaining(says) as string });
    expect(error?.message).not.toMatch(/\p{Cc}/u);
  });

  test("bytes that are no UTF-8 are refused", () => {
    const broken = Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]);
    expect(errorOf(() => parseDocument(broken))).toMatchObject({ code: "invalid-manifest" });
  });

  test("__proto__ and constructor change nothing", () => {
    const text = JSON.stringify(manifest).replace(
      "{",
      '{"__proto__":{"layers":[]},"constructor":{"prototype":{"a":1}},',
    );
    const parsed = parseManifest(bytes(text));
    expect(parsed.layers).toHaveLength(1);
    expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>)["a"]).toBeUndefined();
    const inherited = bytes(`{"schemaVersion":2,"__proto__":${JSON.stringify({ config, layers: [layer] })}}`);
    expect(errorOf(() => parseManifest(inherited))).toMatchObject({ code: "invalid-manifest" });
  });

  test("a name may stand in several objects, and a value may look like a name", () => {
    const annotations = { layers: 'layers","layers', config: "\\", '"': "{", "": "}" };
    expect(parseManifest(bytes({ ...manifest, annotations })).annotations).toEqual(annotations);
  });
});

describe("an index", () => {
  test("is read, without the entries that nobody could verify", () => {
    const entry = {
      mediaType: MediaType.ociManifest,
      digest,
      size: 3,
      platform: { os: "linux", architecture: "arm" },
    };
    const manifests = [entry, { ...entry, digest: "blake3:00" }, { ...entry, size: -1 }, 7];
    expect(parseIndex(bytes({ ...index, manifests })).manifests).toEqual([entry]);
  });

  test("is not a manifest, and the other way round", () => {
    expect(errorOf(() => parseManifest(bytes(index)))).toMatchObject({ code: "invalid-manifest" });
    expect(errorOf(() => parseIndex(bytes(manifest)))).toMatchObject({ code: "invalid-manifest" });
  });

  test("with too many entries is refused", () => {
    const manifests = Array.from({ length: 10_001 }, () => 0);
    expect(errorOf(() => parseIndex(bytes({ ...index, manifests })))?.message).toContain("10000");
  });
});

describe("an image config", () => {
  const execution = {
    User: "1000:1000",
    ExposedPorts: { "80/tcp": {} },
    Env: ["PATH=/bin", "EMPTY="],
    Entrypoint: ["/entry"],
    Cmd: ["serve"],
    Volumes: { "/data": {} },
    WorkingDir: "/srv",
    Labels: { a: "b" },
    StopSignal: "SIGQUIT",
    Healthcheck: { Test: ["CMD", "true"], Interval: 30_000_000_000, Retries: 3 },
    Shell: ["/bin/sh", "-c"],
  };

  test("is read, without what is not ours", () => {
    const value = {
      ...imageConfig,
      created: "2026-01-01T00:00:00Z",
      config: { ...execution, ArgsEscaped: true },
    };
    const parsed = parseConfig(bytes({ ...value, container_config: {}, history: [{ created_by: "x" }] }));
    expect(parsed).toEqual({ ...value, config: execution, history: [{ created_by: "x" }] });
  });

  test("null is absence, as Docker writes it", () => {
    const nulls = Object.fromEntries(Object.keys(execution).map((name) => [name, null]));
    expect(parseConfig(bytes({ ...imageConfig, config: nulls, history: null })).config).toEqual({});
  });

  const bad: readonly (readonly [name: string, value: unknown, says: string])[] = [
    ["nothing", "", "not JSON"],
    ["a list", [], "not acceptable"],
    ["no os", { ...imageConfig, os: undefined }, "os"],
    ["an os that is a path", { ...imageConfig, os: "../linux" }, "os"],
    ["an empty architecture", { ...imageConfig, architecture: "" }, "architecture"],
    ["no rootfs", { ...imageConfig, rootfs: undefined }, "rootfs"],
    ["another kind of rootfs", { ...imageConfig, rootfs: { type: "x", diff_ids: [] } }, "rootfs.type"],
    [
      "a diff ID that is a path",
      { ...imageConfig, rootfs: { type: "layers", diff_ids: ["../x"] } },
      "diff_ids.0",
    ],
    ["Cmd in one string", { ...imageConfig, config: { Cmd: "sh" } }, "config.Cmd"],
    ["a NUL in Cmd", { ...imageConfig, config: { Cmd: ["a\0b"] } }, "config.Cmd.0: contains a NUL"],
    ["a NUL in Env", { ...imageConfig, config: { Env: ["A=\0"] } }, "NUL"],
    ["a NUL in User", { ...imageConfig, config: { User: "0\0" } }, "NUL"],
    ["a NUL in a volume's name", { ...imageConfig, config: { Volumes: { "/\0": {} } } }, "NUL"],
    ["a null argument", { ...imageConfig, config: { Cmd: [null] } }, "config.Cmd.0"],
    ["Env as an object", { ...imageConfig, config: { Env: { A: "b" } } }, "config.Env"],
    ["labels that are numbers", { ...imageConfig, config: { Labels: { a: 1 } } }, "config.Labels.a"],
    ["a negative interval", { ...imageConfig, config: { Healthcheck: { Interval: -1 } } }, "Interval"],
    [
      "Env twice",
      JSON.stringify({ ...imageConfig, config: { Env: [] } }).replace('"Env"', '"Env":["A=1"],"Env"'),
      '"Env" twice',
    ],
    ["9 MiB", " ".repeat(9 << 20), "too large"],
  ];
  test.each(bad)("with %s is refused", (_, value, says) => {
    const error = errorOf(() => parseConfig(bytes(value)));
    expect(error).toMatchObject({ code: "invalid-config", message: expect.stringContaining(says) as string });
  });

  test("must have as many diff IDs as the manifest has layers", () => {
    const parsed = parseManifest(bytes(manifest));
    expect(layersOf(parsed, parseConfig(bytes(imageConfig)))).toEqual([
      { descriptor: layer, diffId: digest, compression: "gzip" },
    ]);
    for (const diff_ids of [[], [digest, digest]]) {
      const other = parseConfig(bytes({ ...imageConfig, rootfs: { type: "layers", diff_ids } }));
      expect(errorOf(() => layersOf(parsed, other))).toMatchObject({ code: "invalid-config" });
    }
  });
});

describe("media types", () => {
  const layers: readonly (readonly [string, string])[] = [
    ["application/vnd.oci.image.layer.v1.tar", "none"],
    ["application/vnd.oci.image.layer.v1.tar+gzip", "gzip"],
    ["application/vnd.oci.image.layer.v1.tar+zstd", "zstd"],
    ["application/vnd.docker.image.rootfs.diff.tar", "none"],
    ["application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"],
    ["application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"],
  ];
  test.each(layers)("%s is %s", (mediaType, compression) => {
    expect(compressionOf(mediaType)).toBe(compression);
  });

  test("documents are known by their essence", () => {
    expect(documentKindOf(`${MediaType.ociIndex.toUpperCase()} ; x=y`)).toBe("index");
    expect(documentKindOf("application/json")).toBeUndefined();
  });
});
