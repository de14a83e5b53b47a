/** A damaged layer is found before a machine is started, and fetched again from where it came. */
import { mkdtemp, open, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { planMachine } from "../../src/container/plan.ts";
import { prepareImage } from "../../src/container/prepare.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { readRootfsFile } from "../../src/rootfs/read.ts";
import { layerPaths } from "../../src/store/layout.ts";
import { openStore } from "../../src/store/store.ts";
import { startServer } from "../support/loopback-server.ts";
import { makeImage } from "../support/oci-layout.ts";
import { archive, entry } from "../support/tar-builder.ts";

const content = Buffer.alloc(3 * 2 ** 20, "content ");
const image = makeImage({
  platform: { ...hostPlatform(process.arch) } as { os: string; architecture: string },
  layers: [archive(entry({ name: "data" }, content)), archive(entry({ name: "other" }, "x".repeat(5000)))],
  config: { Cmd: ["/data"] },
});
const [layer] = image.layers;
if (layer === undefined) throw new Error("the image has no layer");

const damages = {
  "a flipped bit in its third MiB": async (blob: string) => {
    await using handle = await open(blob, "r+");
    await handle.write(Buffer.from([0x41]), 0, 1, 2_500_000);
  },
  "cut short": (blob: string) => truncate(blob, 4096),
  "replaced by another file of its size": async (blob: string) => {
    await writeFile(`${blob}.new`, Buffer.alloc((await stat(blob)).size, "evil"));
    await rename(`${blob}.new`, blob);
  },
  gone: (blob: string) => rm(blob),
} as const;

test.each(Object.entries(damages))("a layer blob, %s", async (_, damage) => {
  await using registry = await startServer((request, response) => {
    const pointer = request.url?.split("/").at(-1);
    const found = [...image.layers, { digest: image.config.digest, bytes: image.configBytes }].find(
      ({ digest }) => digest === pointer,
    );
    if (request.url?.includes("/manifests/")) {
      response.setHeader("content-type", image.manifest.mediaType);
      response.end(image.manifestBytes);
    } else response.writeHead(request.url === "/v2/" || found ? 200 : 404).end(found?.bytes);
  });
  const dataDir = await mkdtemp(join(tmpdir(), "flamebox-damaged-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  await using store = await openStore({ dataDir });
  const notices: string[] = [];
  const request = {
    name: `${registry.host}/x:1`,
    berth: { id: "ab".repeat(32) },
    machine: await planMachine({}),
    options: { dockerConfig: null, onNotice: (notice: string) => void notices.push(notice) },
  };
  const readAll = async () => {
    await using prepared = await prepareImage(store, request);
    return Buffer.from(readRootfsFile(prepared.rootfs.disk, "data", { maxBytes: 2 ** 24 }));
  };
  const fetched = () =>
    registry.requests
      .map(({ line }) => line)
      .filter((line) => line.includes("/blobs/") && !line.includes(image.config.digest));

  expect((await readAll()).equals(content)).toBe(true);
  expect((await readAll()).equals(content)).toBe(true);
  const before = fetched().length;
  await damage(layerPaths(store.layout, layer.diffId).blobPath);
  expect((await readAll()).equals(content)).toBe(true);
  expect(fetched().slice(before)).toEqual([`GET /v2/x/blobs/${layer.digest}`]);
  expect(notices).toHaveLength(1);
  expect(notices[0]).toMatch(/layer [0-9a-f]{12} is missing or damaged; fetching it again$/);
});
