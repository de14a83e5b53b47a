/** A damaged layer is found before a machine is started, and fetched again from where it came. */
import { mkdtemp, open, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { ContainerOptions } from "../../src/container/options.ts";
import { planMachine } from "../../src/container/plan.ts";
import { prepareImage } from "../../src/container/prepare.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { readRootfsFile } from "../../src/rootfs/read.ts";
import { layerPaths } from "../../src/store/layout.ts";
import { stampFile } from "../../src/store/stamp.ts";
import { openStore } from "../../src/store/store.ts";
import type { Store } from "../../src/store/store.ts";
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

async function serve() {
  return await startServer((request, response) => {
    const pointer = request.url?.split("/").at(-1);
    const found = [...image.layers, { digest: image.config.digest, bytes: image.configBytes }].find(
      ({ digest }) => digest === pointer,
    );
    if (request.url?.includes("/manifests/")) {
      response.setHeader("content-type", image.manifest.mediaType);
      response.end(image.manifestBytes);
    } else response.writeHead(request.url === "/v2/" || found ? 200 : 404).end(found?.bytes);
  });
}

async function newStore(): Promise<Store> {
  const dataDir = await mkdtemp(join(tmpdir(), "flamebox-damaged-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  return await openStore({ dataDir });
}

/** What a start does until its image is a disk. */
function starter(store: Store, host: string, more: Pick<ContainerOptions, "verify" | "pull"> = {}) {
  const notices: string[] = [];
  const readAll = async () => {
    await using prepared = await prepareImage(store, {
      name: `${host}/x:1`,
      berth: { id: "ab".repeat(32) },
      machine: await planMachine({}),
      options: { dockerConfig: null, onNotice: (notice) => void notices.push(notice), ...more },
    });
    return Buffer.from(readRootfsFile(prepared.rootfs.disk, "data", { maxBytes: 2 ** 24 }));
  };
  return { readAll, notices };
}

function layersFetched(requests: readonly { readonly line: string }[]): string[] {
  return requests
    .map(({ line }) => line)
    .filter((line) => line.includes("/blobs/") && !line.includes(image.config.digest));
}

/** As a disk does it: nothing that the file system tells is another. */
async function flipBehindTheBack(store: Store, blob: string): Promise<void> {
  await damages["a flipped bit in its third MiB"](blob);
  await stampFile(store, blob, blob.replace(/blob$/, "stamp"));
}

test.each(Object.entries(damages))("a layer blob, %s", async (_, damage) => {
  await using registry = await serve();
  await using store = await newStore();
  const { readAll, notices } = starter(store, registry.host);
  const fetched = () => layersFetched(registry.requests);

  expect((await readAll()).equals(content)).toBe(true);
  expect((await readAll()).equals(content)).toBe(true);
  const before = fetched().length;
  await damage(layerPaths(store.layout, layer.diffId).blobPath);
  expect((await readAll()).equals(content)).toBe(true);
  expect(fetched().slice(before)).toEqual([`GET /v2/x/blobs/${layer.digest}`]);
  expect(notices).toHaveLength(1);
  expect(notices[0]).toMatch(/layer [0-9a-f]{12} is missing or damaged; fetching it again$/);
});

test("a bit that the disk flipped is found by --verify, and nobody else before the check", async () => {
  await using registry = await serve();
  await using store = await newStore();
  const trusting = starter(store, registry.host);
  const verifying = starter(store, registry.host, { verify: true });
  expect((await verifying.readAll()).equals(content)).toBe(true);
  const before = layersFetched(registry.requests).length;
  const { blobPath } = layerPaths(store.layout, layer.diffId);
  await flipBehindTheBack(store, blobPath);
  expect((await trusting.readAll()).equals(content)).toBe(false);
  await expect(
    starter(store, registry.host, { verify: true, pull: "never" }).readAll(),
  ).rejects.toMatchObject({
    code: "image-incomplete",
  });
  await flipBehindTheBack(store, blobPath);
  await flipBehindTheBack(store, blobPath);
  expect((await verifying.readAll()).equals(content)).toBe(true);
  expect(layersFetched(registry.requests).slice(before)).toEqual([`GET /v2/x/blobs/${layer.digest}`]);
  expect(verifying.notices).toEqual([expect.stringMatching(/missing or damaged; fetching it again$/)]);
  // Sound, and stamped again: the next start reads nothing.
  expect((await verifying.readAll()).equals(content)).toBe(true);
  expect((await trusting.readAll()).equals(content)).toBe(true);
  expect(layersFetched(registry.requests)).toHaveLength(before + 1);
});
