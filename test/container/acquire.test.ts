/** When the registry is asked: always, when the image is missing, never. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { acquireImage } from "../../src/container/acquire.ts";
import { importFrom } from "../../src/container/load.ts";
import type { ContainerOptions } from "../../src/container/options.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { decodeLayerIndex } from "../../src/rootfs/layer-index-file.ts";
import { checkStore } from "../../src/store/check.ts";
import { openStore } from "../../src/store/store.ts";
import { writeLayout } from "../support/oci-layout.ts";
import type { WrittenImage } from "../support/oci-layout.ts";
import { missingPrograms } from "../support/programs.ts";
import { startRegistry } from "../support/registry.ts";
import type { TestRegistry } from "../support/registry.ts";
import { archive, entry } from "../support/tar-builder.ts";

const missing = missingPrograms("docker-registry", "skopeo");
const platform = hostPlatform(process.arch) as { os: string; architecture: string };

describe.skipIf(missing.length > 0)(`--pull (needs ${missing.join(", ") || "nothing"})`, () => {
  let dir: string;
  let registry: TestRegistry;
  let name: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-acquire-"));
    registry = await startRegistry();
    name = `${registry.host}/team/app:1`;
  });
  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  /** The tag stands for an image with this text in it from now on. */
  async function publish(text: string): Promise<WrittenImage> {
    const layers = [archive(entry({ name: "etc/motd" }, text))];
    const layout = join(dir, text);
    const [image] = await writeLayout(layout, "1", [{ platform, layers }]);
    await registry.push(layout, "1", "team/app:1");
    return image as WrittenImage;
  }

  test("always follows a tag that moved; missing and never keep what is here", async () => {
    await using store = await openStore({ dataDir: join(dir, "data") });
    const acquire = async (pull: ContainerOptions["pull"]) =>
      (await acquireImage(store, name, { pull, dockerConfig: null, registrySettings: [] })).manifestDigest;
    await expect(acquire("never")).rejects.toMatchObject({ code: "image-not-found" });
    const first = (await publish("first")).manifest.digest;
    expect(await acquire("missing")).toBe(first);
    const second = (await publish("second")).manifest.digest;
    expect(second).not.toBe(first);
    expect(await acquire("missing")).toBe(first);
    expect(await acquire(undefined)).toBe(first);
    expect(await acquire("never")).toBe(first);
    expect(await acquire("always")).toBe(second);
    expect(await acquire("never")).toBe(second);
    // With nobody to ask, what is here does not pass for what is there.
    await registry[Symbol.asyncDispose]();
    await expect(acquire("always")).rejects.toMatchObject({ code: "registry-unreachable" });
    expect(await acquire("missing")).toBe(second);
  });
});

test("a directory is packed once for each state of it, and import takes it too", async () => {
  const dir = await mkdtemp(join(tmpdir(), "flamebox-acquire-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const rootfs = join(dir, "rootfs");
  await mkdir(rootfs);
  await writeFile(join(rootfs, "data"), "x".repeat(10_000));
  await using store = await openStore({ dataDir: join(dir, "data") });
  const states: string[] = [];
  const acquire = async () =>
    await acquireImage(store, `dir:${rootfs}`, {
      onProgress: ({ id, state }) => void (id.startsWith("layer:") && states.push(state)),
    });
  const first = await acquire();
  expect(states.at(-1)).toBe("done");
  expect(await acquire()).toMatchObject({ reference: first.reference, configDigest: first.configDigest });
  expect(states.at(-1)).toBe("cached");
  const imported = await importFrom(store, { path: rootfs }, "mine:1", { changes: ["CMD /data"] });
  expect(imported.diffIds).toEqual(first.diffIds);
  await writeFile(join(rootfs, "more"), "");
  expect((await acquire()).diffIds).not.toEqual(first.diffIds);
  expect(await checkStore(store, { inspectIndex: decodeLayerIndex })).toEqual([]);
});
