/**
 * Archives and layouts from outside: what is malformed is told by name, and nothing that an archive says becomes a
 * path of this host.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseManifest } from "../../src/oci/manifest.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { digestOf } from "../../src/reference/digest.ts";
import { memberKey } from "../../src/source/archive/archive.ts";
import { parseDockerManifest } from "../../src/source/archive/docker-archive.ts";
import { pick } from "../../src/source/local.ts";
import type { LocalImages } from "../../src/source/local.ts";
import { openAnyArchive, openLocation } from "../../src/source/open.ts";
import { FlameBoxError } from "../../src/util/error.ts";
import { makeImage } from "../support/oci-layout.ts";
import { archive, entry, gnuSparse, header, pax } from "../support/tar-builder.ts";

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-archives-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const platform = hostPlatform(process.arch);
const layerTar = archive(entry({ name: "etc/motd" }, "hello"));
const other = archive(entry({ name: "etc/other" }, "x".repeat(5000)));
const built = makeImage({ platform: platform as never, layers: [layerTar, other] });
const configName = `${built.config.digest.slice(7)}.json`;

type Members = readonly (readonly [name: string, content: string | Uint8Array])[];

function tarOf(members: Members): Buffer {
  return archive(...members.map(([name, content]) => entry({ name }, content)));
}

const manifestJson = (more: object = {}) =>
  JSON.stringify([
    { Config: configName, RepoTags: ["app:1"], Layers: ["a/layer.tar", "b/layer.tar"], ...more },
  ]);

/** As Docker wrote it before 25. */
const OLD: Members = [
  ["a/layer.tar", layerTar],
  ["b/layer.tar", other],
  [configName, built.configBytes],
  ["manifest.json", manifestJson()],
];

let serial = 0;
async function fileOf(bytes: Uint8Array): Promise<string> {
  const path = join(dir, `archive-${++serial}.tar`);
  await writeFile(path, bytes);
  return path;
}

async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** Everything that a pull would read of the only image. */
async function readImage(images: LocalImages, name?: string): Promise<Buffer[]> {
  const resolved = await pick(images, name).resolve({ platform });
  const { config, layers } = parseManifest(resolved.manifestBytes);
  const parts: Buffer[] = [];
  for (const descriptor of [config, ...layers]) parts.push(await readAll(resolved.openBlob(descriptor)));
  return parts;
}

async function readDocker(bytes: Uint8Array): Promise<Buffer[]> {
  const location = { kind: "docker-archive", path: await fileOf(bytes) } as const;
  await using images = await openLocation(location, { workspace: dir });
  return await readImage(images);
}

function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => "no error",
    (error: unknown) => (error instanceof FlameBoxError ? error.code : error),
  );
}

const link = (name: string, linkName: string, type = "2") => entry({ name, type, linkName });
const OLD_PARTS = [built.configBytes, layerTar, other];

describe("docker archives that work", () => {
  const rows: readonly (readonly [string, Uint8Array])[] = [
    ["as docker save wrote them", tarOf(OLD)],
    ["with manifest.json first", tarOf(OLD.toReversed())],
    ["with ./ before every name", tarOf(OLD.map(([name, content]) => [`./${name}`, content]))],
    [
      "compressed layers",
      tarOf(OLD.map(([name, content]) => [name, name.endsWith(".tar") ? gzipSync(content) : content])),
    ],
    ["without a RepoTags", tarOf([...OLD.slice(0, 3), ["manifest.json", manifestJson({ RepoTags: null })]])],
    [
      "a layer that is a link to another one's directory",
      Buffer.concat([
        entry({ name: "x/layer.tar" }, layerTar),
        link("a/layer.tar", "../x/layer.tar"),
        tarOf(OLD.slice(1)),
      ]),
    ],
    [
      "a hard link",
      Buffer.concat([entry({ name: "x" }, layerTar), link("a/layer.tar", "x", "1"), tarOf(OLD.slice(1))]),
    ],
    [
      "an absolute link within it",
      Buffer.concat([entry({ name: "x" }, layerTar), link("a/layer.tar", "/x"), tarOf(OLD.slice(1))]),
    ],
    [
      "long names",
      archive(...OLD.flatMap(([name, content]) => [pax({ path: name }), entry({ name: "short" }, content)])),
    ],
    ["no end blocks", Buffer.concat(OLD.map(([name, content]) => entry({ name }, content)))],
    [
      "directories and devices beside it",
      Buffer.concat([entry({ name: "a", type: "5" }), entry({ name: "c", type: "3" }), tarOf(OLD)]),
    ],
  ];
  it.each(rows)("%s", async (_, bytes) => {
    const [config, ...layers] = await readDocker(bytes);
    expect(config?.equals(built.configBytes)).toBe(true);
    const plain = layers.map((layer) =>
      layer[0] === 0x1f ? spawnSync("gzip", ["-dc"], { input: layer }).stdout : layer,
    );
    expect(plain.map((layer) => digestOf(layer))).toEqual(OLD_PARTS.slice(1).map((part) => digestOf(part)));
  });
});

describe("docker archives that do not", () => {
  const withManifest = (text: string | Uint8Array): Members => [...OLD.slice(0, 3), ["manifest.json", text]];
  const rows: readonly (readonly [string, Uint8Array, code: string])[] = [
    ["nothing", new Uint8Array(0), "invalid-archive"],
    ["no tar", Buffer.from("hello ".repeat(200)), "invalid-archive"],
    ["cut in a header", tarOf(OLD).subarray(0, 300), "invalid-archive"],
    ["cut in a layer", tarOf(OLD.toReversed()).subarray(0, 2300), "invalid-archive"],
    ["no manifest.json", tarOf(OLD.slice(0, 3)), "invalid-archive"],
    ["manifest.json is no JSON", tarOf(withManifest("{")), "invalid-manifest"],
    ["manifest.json is no list", tarOf(withManifest("{}")), "invalid-archive"],
    ["an empty list", tarOf(withManifest("[]")), "image-not-found"],
    [
      "two images and no choice",
      tarOf(
        withManifest(
          JSON.stringify([
            ...(JSON.parse(manifestJson()) as object[]),
            ...(JSON.parse(manifestJson()) as object[]),
          ]),
        ),
      ),
      "image-not-found",
    ],
    ["a name twice in its JSON", tarOf(withManifest('[{"Config":"a","Config":"b"}]')), "invalid-manifest"],
    ["a Config that is no string", tarOf(withManifest(manifestJson({ Config: 7 }))), "invalid-archive"],
    [
      "a Config that leads out",
      tarOf(withManifest(manifestJson({ Config: "../../etc/passwd" }))),
      "invalid-archive",
    ],
    ["an absolute Config", tarOf(withManifest(manifestJson({ Config: "/etc/passwd" }))), "invalid-archive"],
    ["a missing config", tarOf([...OLD.slice(0, 2), ...OLD.slice(3)]), "invalid-archive"],
    [
      "a config that is none",
      tarOf([...OLD.slice(0, 2), [configName, "[]"], ...OLD.slice(3)]),
      "invalid-config",
    ],
    ["a missing layer", tarOf(OLD.slice(1)), "invalid-archive"],
    ["a layer too few", tarOf(withManifest(manifestJson({ Layers: ["a/layer.tar"] }))), "invalid-archive"],
    [
      "a layer too many",
      tarOf(withManifest(manifestJson({ Layers: ["a/layer.tar", "b/layer.tar", "b/layer.tar"] }))),
      "invalid-archive",
    ],
    [
      "a layer that leads out",
      tarOf(withManifest(manifestJson({ Layers: ["../a/layer.tar", "b/layer.tar"] }))),
      "invalid-archive",
    ],
    [
      "2000 layers",
      tarOf(withManifest(manifestJson({ Layers: Array.from({ length: 2000 }, () => "a/layer.tar") }))),
      "invalid-archive",
    ],
    ["a layer that is another one", tarOf([["a/layer.tar", other], ...OLD.slice(1)]), "digest-mismatch"],
    ["a member twice", tarOf([...OLD, ["a/layer.tar", layerTar]]), "invalid-archive"],
    ["manifest.json twice", tarOf([...OLD, ["./manifest.json", manifestJson()]]), "invalid-archive"],
    [
      "a link to nothing",
      Buffer.concat([link("a/layer.tar", "nowhere"), tarOf(OLD.slice(1))]),
      "invalid-archive",
    ],
    [
      "a link out of it",
      Buffer.concat([link("a/layer.tar", "../../etc/passwd"), tarOf(OLD.slice(1))]),
      "invalid-archive",
    ],
    [
      "a link to a file of the host",
      Buffer.concat([link("a/layer.tar", "/etc/passwd"), tarOf(OLD.slice(1))]),
      "invalid-archive",
    ],
    [
      "a link to itself",
      Buffer.concat([link("a/layer.tar", "layer.tar"), tarOf(OLD.slice(1))]),
      "invalid-archive",
    ],
    [
      "a directory for a layer",
      Buffer.concat([entry({ name: "a/layer.tar", type: "5" }), tarOf(OLD.slice(1))]),
      "invalid-archive",
    ],
    [
      "a sparse member",
      Buffer.concat([gnuSparse("a/layer.tar", 9000, [[0, 512]], Buffer.alloc(512)), tarOf(OLD.slice(1))]),
      "invalid-archive",
    ],
    [
      "a member of 8 EiB",
      Buffer.concat([
        header({ name: "x", patches: [[124, Buffer.from("80000000ffffffffffffffff", "hex")]] }),
        tarOf(OLD),
      ]),
      "invalid-archive",
    ],
    [
      "an extended header of 10 MB",
      Buffer.concat([entry({ name: "x", type: "x" }, Buffer.alloc(10_000_000)), tarOf(OLD)]),
      "invalid-archive",
    ],
    ["xz", Buffer.from("fd377a585a000004", "hex"), "invalid-archive"],
    ["bzip2", Buffer.from("425a6839314159265359", "hex"), "invalid-archive"],
    ["gzip of nothing", gzipSync(""), "invalid-archive"],
    ["half a gzip", gzipSync(tarOf(OLD)).subarray(0, 200), "gzip-truncated"],
  ];
  it.each(rows)("%s", async (_, bytes, code) => {
    expect(await codeOf(readDocker(bytes))).toBe(code);
  });
});

describe("manifest.json", () => {
  it("is parsed or refused, whatever it is (seeded)", () => {
    const json = fc.json({ maxDepth: 4 }).map((text) => Buffer.from(text));
    const near = fc
      .record(
        {
          Config: fc.oneof(fc.string(), fc.constant(configName), fc.anything()),
          RepoTags: fc.oneof(fc.array(fc.string()), fc.anything()),
          Layers: fc.oneof(fc.array(fc.string()), fc.anything()),
        },
        { requiredKeys: [] },
      )
      .map((one) => Buffer.from(JSON.stringify([one]) ?? "null"));
    const property = fc.property(fc.oneof(json, near, fc.uint8Array()), (bytes) => {
      let failure: unknown;
      try {
        parseDockerManifest(bytes, "x");
      } catch (error) {
        failure = error;
      }
      expect(failure === undefined || failure instanceof FlameBoxError).toBe(true);
    });
    fc.assert(property, { seed: 20_260_703, numRuns: 2000 });
  });

  it("keys of members never lead out", () => {
    expect(["a/./b", "/a//b", "a/../b"].map(memberKey)).toEqual(["a/b", "a/b", "b"]);
    const outside = ["..", "../a", "a/../../b", "", "/", "."].map(memberKey);
    expect(outside.filter((key) => key !== undefined)).toEqual([]);
  });
});

const LAYOUT_VERSION = '{"imageLayoutVersion":"1.0.0"}';
const manifestEntry = { ...built.manifest, annotations: { "org.opencontainers.image.ref.name": "1" } };
const indexOf = (...manifests: object[]) => JSON.stringify({ schemaVersion: 2, manifests });
const blob = (digest: string) => `blobs/sha256/${digest.slice(7)}`;
const BLOBS: Members = [
  [blob(built.manifest.digest), built.manifestBytes],
  [blob(built.config.digest), built.configBytes],
  ...built.layers.map(({ digest, bytes }) => [blob(digest), bytes] as const),
];
const LAYOUT: Members = [["oci-layout", LAYOUT_VERSION], ["index.json", indexOf(manifestEntry)], ...BLOBS];

async function readLayoutArchive(members: Members, name?: string): Promise<Buffer[]> {
  const location = { kind: "oci-archive", path: await fileOf(tarOf(members)) } as const;
  await using images = await openLocation(location, { workspace: dir });
  return await readImage(images, name);
}

describe("OCI layouts", () => {
  const withIndex = (text: string): Members => [LAYOUT[0] as Members[number], ["index.json", text], ...BLOBS];
  const nested = Buffer.from(indexOf({ ...built.manifest, platform }));
  const nestedEntry = {
    mediaType: "application/vnd.oci.image.index.v1+json",
    digest: digestOf(nested),
    size: nested.length,
  };
  const twice = Buffer.from(indexOf({ ...nestedEntry, platform }));
  const twiceEntry = { ...nestedEntry, digest: digestOf(twice), size: twice.length };

  it.each<readonly [string, Members, string | undefined]>([
    ["by tag", LAYOUT, "1"],
    ["the only one", LAYOUT, undefined],
    ["by number", withIndex(indexOf(manifestEntry, { ...manifestEntry, annotations: {} })), "@1"],
    ["without a name", withIndex(indexOf(built.manifest)), undefined],
    ["behind an index", [...withIndex(indexOf(nestedEntry)), [blob(nestedEntry.digest), nested]], undefined],
    [
      "one of several platforms",
      withIndex(
        indexOf(
          { ...built.manifest, platform },
          {
            ...built.manifest,
            digest: `sha256:${"0".repeat(64)}`,
            platform: { os: "linux", architecture: "mips" },
          },
        ),
      ),
      undefined,
    ],
    [
      "beside what is no image",
      withIndex(indexOf(manifestEntry, { mediaType: "text/plain", digest: built.config.digest, size: 3 })),
      undefined,
    ],
    ["a blob twice", [...LAYOUT, LAYOUT[2] as Members[number]], undefined],
  ])("%s", async (_, members, name) => {
    const [config] = await readLayoutArchive(members, name);
    expect(config?.equals(built.configBytes)).toBe(true);
  });

  const replaced = (digest: string, content: string): Members =>
    LAYOUT.map(([name, old]) => [name, name === blob(digest) ? content : old]);
  it.each<readonly [string, Members, string | undefined, string]>([
    ["no index.json", LAYOUT.filter(([name]) => name !== "index.json"), undefined, "invalid-archive"],
    ["index.json twice", [...LAYOUT, LAYOUT[1] as Members[number]], undefined, "invalid-archive"],
    ["index.json is no JSON", withIndex("{"), undefined, "invalid-manifest"],
    ["index.json is a manifest", withIndex(built.manifestBytes.toString()), undefined, "invalid-manifest"],
    ["nothing in it", withIndex(indexOf()), undefined, "image-not-found"],
    ["no such tag", LAYOUT, "2", "image-not-found"],
    ["no such number", LAYOUT, "@1", "image-not-found"],
    [
      "two, and no choice",
      withIndex(
        indexOf(manifestEntry, {
          ...manifestEntry,
          annotations: { "org.opencontainers.image.ref.name": "2" },
        }),
      ),
      undefined,
      "image-not-found",
    ],
    [
      "a missing manifest",
      LAYOUT.filter(([name]) => name !== blob(built.manifest.digest)),
      undefined,
      "invalid-archive",
    ],
    ["another manifest", replaced(built.manifest.digest, "{}"), undefined, "digest-mismatch"],
    [
      "a manifest of another size",
      withIndex(indexOf({ ...built.manifest, size: 3 })),
      undefined,
      "size-mismatch",
    ],
    [
      "a manifest of another type",
      withIndex(
        indexOf({ ...built.manifest, mediaType: "application/vnd.docker.distribution.manifest.v2+json" }),
      ),
      undefined,
      "invalid-manifest",
    ],
    [
      "a missing layer",
      LAYOUT.filter(([name]) => name !== blob(built.layers[0]?.digest ?? "")),
      undefined,
      "blob-not-found",
    ],
    [
      "a damaged layer",
      replaced(built.layers[0]?.digest ?? "", "x".repeat(built.layers[0]?.size ?? 0)),
      undefined,
      "digest-mismatch",
    ],
    ["a cut layer", replaced(built.layers[0]?.digest ?? "", "x"), undefined, "size-mismatch"],
    [
      "an index of indexes",
      [
        ...withIndex(indexOf(twiceEntry)),
        [blob(twiceEntry.digest), twice],
        [blob(nestedEntry.digest), nested],
      ],
      undefined,
      "platform-not-found",
    ],
    [
      "indexes that lead to each other, one under a wrong name",
      [
        ...withIndex(indexOf(twiceEntry)),
        [blob(twiceEntry.digest), twice],
        [blob(nestedEntry.digest), twice],
      ],
      undefined,
      "platform-not-found",
    ],
    [
      "no platform of ours",
      withIndex(
        indexOf(
          { ...built.manifest, platform: { os: "linux", architecture: "mips" } },
          { ...built.manifest, platform: { os: "linux", architecture: "sparc" } },
        ),
      ),
      undefined,
      "platform-not-found",
    ],
  ])("refuses %s", async (_, members, name, code) => {
    expect(await codeOf(readLayoutArchive(members, name))).toBe(code);
  });

  it("in a directory; a FIFO or a directory for a file is refused and not waited for", async () => {
    const layout = join(dir, "layout");
    await mkdir(join(layout, "blobs", "sha256"), { recursive: true });
    for (const [name, content] of LAYOUT) await writeFile(join(layout, name), content);
    const read = async () => {
      await using images = await openLocation({ kind: "oci", path: layout }, { workspace: dir });
      return await readImage(images, "1");
    };
    expect(
      await readImage(await openLocation({ kind: "oci", path: layout }, { workspace: dir })),
    ).toHaveLength(3);
    const layer = join(layout, blob(built.layers[0]?.digest ?? ""));
    await rm(layer);
    execFileSync("mkfifo", [layer]);
    expect(await codeOf(read())).toBe("invalid-archive");
    await rm(layer);
    await mkdir(layer);
    expect(await codeOf(read())).toBe("invalid-archive");
    await rm(layer, { recursive: true });
    await symlink("/dev/zero", layer);
    expect(await codeOf(read())).toBe("invalid-archive");
    await rm(join(layout, "index.json"));
    expect(await codeOf(read())).toBe("invalid-archive");
    expect(await codeOf(openLocation({ kind: "oci", path: join(dir, "nowhere") }, { workspace: dir }))).toBe(
      "image-not-found",
    );
  });
});

describe("archives as streams", () => {
  const stream = (bytes: Uint8Array, chunkBytes: number) =>
    (async function* () {
      for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
    })();
  const bothKinds = tarOf([...LAYOUT, ["manifest.json", manifestJson()]]);

  it.each<readonly [string, Uint8Array]>([
    ["plain", tarOf(OLD)],
    ["gzip", gzipSync(tarOf(OLD))],
    ["zstd", spawnSync("zstd", ["-qc"], { input: tarOf(OLD) }).stdout],
    ["an OCI archive", tarOf(LAYOUT)],
    ["both at once", bothKinds],
  ])("%s, in pieces of any size, leaves nothing in the workspace", async (_, bytes) => {
    const workspace = await mkdtemp(join(dir, "workspace-"));
    for (const chunkBytes of [1, 777, 1_000_000]) {
      await using images = await openAnyArchive(
        { stream: stream(bytes, chunkBytes), name: "-" },
        { workspace },
      );
      const [config] = await readImage(images);
      expect(config?.equals(built.configBytes)).toBe(true);
      expect(await readdir(workspace)).toEqual([]);
    }
  });

  it("a bomb is stopped where the copy may not grow any more", async () => {
    const bomb = gzipSync(Buffer.alloc(50_000_000));
    const opened = openAnyArchive(
      { stream: stream(bomb, 4096), name: "-" },
      { workspace: dir, maxCopyBytes: 1_000_000 },
    );
    expect(await codeOf(opened)).toBe("decompressed-too-large");
  });

  it("what is a file system and no image is told so", async () => {
    const opened = openAnyArchive({ path: await fileOf(layerTar) }, { workspace: dir });
    await expect(opened).rejects.toMatchObject({
      code: "invalid-archive",
      hint: expect.stringContaining("import"),
    });
  });

  it("a changed archive is read or refused, and nothing else (seeded)", async () => {
    const whole = tarOf(OLD);
    const change = fc.tuple(fc.nat(whole.length - 1), fc.uint8Array({ minLength: 1, maxLength: 20 }));
    const property = fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
      const bytes = Buffer.from(whole);
      for (const [at, patch] of changes) bytes.set(patch.subarray(0, bytes.length - at), at);
      const failure = await readDocker(bytes).then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(failure === undefined || failure instanceof FlameBoxError, String(failure)).toBe(true);
    });
    await fc.assert(property, { seed: 20_260_704, numRuns: 300 });
  });
});

describe("skopeo's dir:", () => {
  it("is read, and refused where it is none", async () => {
    const place = join(dir, "skopeo");
    await mkdir(place);
    const open = async () => {
      await using images = await openLocation({ kind: "dir", path: place }, { workspace: dir });
      return await readImage(images);
    };
    expect(await codeOf(open())).toBe("invalid-archive");
    await writeFile(join(place, "version"), "Directory Transport Version: 1.1\n");
    expect(await codeOf(open())).toBe("invalid-archive");
    await writeFile(join(place, "manifest.json"), built.manifestBytes);
    expect(await codeOf(open())).toBe("blob-not-found");
    for (const [name, content] of BLOBS)
      await writeFile(join(place, name.slice("blobs/sha256/".length)), content);
    expect((await open())[0]?.equals(built.configBytes)).toBe(true);
    await writeFile(join(place, "version"), "Directory Transport Version: 2.0\n");
    expect(await codeOf(open())).toBe("invalid-archive");
    expect((await readFile(join(place, "manifest.json"))).equals(built.manifestBytes)).toBe(true);
  });
});
