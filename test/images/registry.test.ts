/** Images from a real registry into a real store. */
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { findImage, listImages, prune, removeImage } from "../../src/images/images.ts";
import { pullImage } from "../../src/images/pull.ts";
import { exportRootfs } from "../../src/images/export.ts";
import { parse } from "../../src/reference/reference.ts";
import { decodeLayerIndex } from "../../src/rootfs/layer-index-file.ts";
import { registrySource } from "../../src/source/registry/registry.ts";
import { checkStore } from "../../src/store/check.ts";
import { openStore } from "../../src/store/store.ts";
import type { Store } from "../../src/store/store.ts";
import { writeLayout } from "../support/oci-layout.ts";
import type { TestImage, WrittenImage } from "../support/oci-layout.ts";
import { startRegistry } from "../support/registry.ts";
import type { TestRegistry } from "../support/registry.ts";
import { amd64, arm64, tarOf } from "./memory-source.ts";

function missingPrograms(): string[] {
  return ["docker-registry", "skopeo", "fsck.erofs"].filter((program) => {
    try {
      execFileSync("which", [program], { stdio: "ignore" });
      return false;
    } catch {
      return true;
    }
  });
}

const missing = missingPrograms();

describe.skipIf(missing.length > 0)(
  `images from a registry (needs ${missing.join(", ") || "nothing"})`,
  () => {
    let dir: string;
    let registry: TestRegistry;
    const written = new Map<string, WrittenImage[]>();

    const push = async (name: string, images: readonly TestImage[]) => {
      const layout = join(dir, name.replace(/[:/]/g, "-"));
      written.set(name, await writeLayout(layout, "1", images));
      await registry.push(layout, "1", name, images.length > 1 ? ["--all"] : []);
    };

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), "flamebox-images-"));
      registry = await startRegistry();
      const [base, one, two, foreign] = await Promise.all([
        tarOf({ "bin/tool": "tool ".repeat(5000) }),
        tarOf({ "srv/one": "one ".repeat(5000) }),
        tarOf({ "srv/two": "two ".repeat(5000) }),
        tarOf({ "srv/arm": "arm ".repeat(5000) }),
      ]);
      const platform = { os: "linux", architecture: "amd64" };
      await push("team/one:1", [{ platform, layers: [base, one] }]);
      await push("team/two:1", [{ platform, layers: [base, two] }]);
      const arm = { platform: { os: "linux", architecture: "arm64" }, layers: [base, foreign] };
      await push("team/many:1", [{ platform, layers: [base, one] }, arm]);
    });

    afterAll(async () => {
      await registry?.[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    });

    const newStore = async (): Promise<Store> => {
      const dataDir = await mkdtemp(join(tmpdir(), "flamebox-images-"));
      onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
      const store = await openStore({ dataDir });
      onTestFinished(() => store[Symbol.asyncDispose]());
      return store;
    };

    const pull = async (store: Store, name: string, platform = amd64) => {
      const reference = parse(`${registry.host}/${name}`);
      await using source = registrySource(reference);
      return await pullImage(store, reference, source, { platform });
    };

    const fileOf = async (store: Store, text: string, path: string): Promise<string> => {
      const image = await findImage(store, text);
      if (!image) throw new Error(`${text} is not here`);
      const out = await mkdtemp(join(tmpdir(), "flamebox-images-"));
      onTestFinished(() => rm(out, { recursive: true, force: true }));
      await exportRootfs(store, image, join(out, "rootfs"));
      execFileSync("fsck.erofs", [`--extract=${join(out, "tree")}`, join(out, "rootfs")]);
      return await readFile(join(out, "tree", path), "utf8");
    };

    const expectSound = async (store: Store) => {
      expect(await checkStore(store, { inspectIndex: decodeLayerIndex })).toEqual([]);
    };

    test("by tag, again, and by digest", async () => {
      const store = await newStore();
      const first = await pull(store, "team/one:1");
      const [image] = written.get("team/one:1") ?? [];
      expect(first).toMatchObject({ digest: image?.manifest.digest, configDigest: image?.config.digest });
      expect(await fileOf(store, `${registry.host}/team/one:1`, "srv/one")).toBe("one ".repeat(5000));

      const again = await pull(store, "team/one:1");
      expect({ ...again, pulledAt: "" }).toEqual({ ...first, pulledAt: "" });
      const pinned = await pull(store, `team/one@${first.digest}`);
      expect(pinned.reference).toBe(`${registry.host}/team/one@${first.digest}`);
      expect((await listImages(store)).map(({ id }) => id)).toEqual([first.configDigest, first.configDigest]);
      await expectSound(store);
    });

    test("remove keeps the layers of others; prune takes the rest", async () => {
      const store = await newStore();
      await pull(store, "team/one:1");
      const two = await pull(store, "team/two:1");
      const { untagged, deleted } = await removeImage(store, `${registry.host}/team/one:1`);
      expect(untagged).toEqual([`${registry.host}/team/one:1`]);
      expect(deleted).toHaveLength(3);
      expect(await fileOf(store, two.configDigest.slice(7, 19), "bin/tool")).toBe("tool ".repeat(5000));
      await expectSound(store);
      await removeImage(store, two.configDigest.slice(7, 19));
      expect(await prune(store)).toEqual({ untagged: [], deleted: [], reclaimedBytes: 0 });
      expect(await listImages(store)).toEqual([]);
    });

    test("the platform that was asked for, under the digest of the index", async () => {
      const store = await newStore();
      const here = await pull(store, "team/many:1");
      const there = await pull(store, "team/many:1", arm64);
      expect(here.digest).toBe(there.digest);
      expect(here.manifestDigest).not.toBe(there.manifestDigest);
      expect(there.platform).toEqual({ os: "linux", architecture: "arm64" });
      expect(await fileOf(store, `${registry.host}/team/many@${here.digest}`, "srv/arm")).toBe(
        "arm ".repeat(5000),
      );
      await expectSound(store);
    });

    test("what is not there is said to be not there, and leaves nothing", async () => {
      const store = await newStore();
      await expect(pull(store, "team/none:1")).rejects.toMatchObject({ code: "image-not-found" });
      await expect(pull(store, "team/one:9")).rejects.toMatchObject({ code: "image-not-found" });
      expect(await listImages(store)).toEqual([]);
      await expectSound(store);
    });
  },
);
