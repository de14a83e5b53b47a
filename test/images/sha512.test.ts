/** An image whose digests are all SHA-512: out of a layout, into archives, and back. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as flamebox from "../../src/index.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { digestOf, hexOf } from "../../src/reference/digest.ts";
import { missingPrograms } from "../support/programs.ts";
import { tarOf } from "./memory-source.ts";

const run = promisify(execFile);
const platform = hostPlatform(process.arch) as { os: string; architecture: string };
const OCI = "application/vnd.oci.image";

describe("an image with SHA-512 digests", () => {
  let dir: string;
  let layout: string;
  let id: string;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-sha512-"));
    layout = join(dir, "layout");
    await mkdir(join(layout, "blobs", "sha512"), { recursive: true });
    const put = async (mediaType: string, bytes: Buffer) => {
      const digest = digestOf(bytes, "sha512");
      await writeFile(join(layout, "blobs", "sha512", hexOf(digest)), bytes);
      return { mediaType, digest, size: bytes.length };
    };
    const json = (value: object) => Buffer.from(JSON.stringify(value));
    const tar = await tarOf({ "etc/motd": "hello\n", "bin/tool": "tool ".repeat(5000) });
    const rootfs = { type: "layers", diff_ids: [digestOf(tar, "sha512")] };
    const config = await put(`${OCI}.config.v1+json`, json({ ...platform, config: {}, rootfs }));
    id = config.digest;
    const layers = [await put(`${OCI}.layer.v1.tar+gzip`, gzipSync(tar))];
    const mediaType = `${OCI}.manifest.v1+json`;
    const manifest = await put(mediaType, json({ schemaVersion: 2, mediaType, config, layers }));
    const entry = { ...manifest, annotations: { "org.opencontainers.image.ref.name": "example.test/a:1" } };
    await writeFile(join(layout, "index.json"), json({ schemaVersion: 2, manifests: [entry] }));
    await writeFile(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  const newHome = async () => ({
    paths: flamebox.locatePaths({ FLAMEBOX_HOME: await mkdtemp(join(dir, "home-")) }),
  });
  const saved = async (format: "docker-archive" | "oci-archive"): Promise<string> => {
    const home = await newHome();
    const { reference } = await flamebox.pull(`oci:${layout}`, home);
    const output = join(await mkdtemp(join(dir, "out-")), "image.tar");
    await flamebox.saveImages([reference], { ...home, output, format });
    return output;
  };

  test.each(["docker-archive", "oci-archive"] as const)(
    "%s: saved, loaded, the same image",
    async (format) => {
      const home = await newHome();
      const path = await saved(format);
      const [loaded] = await flamebox.loadImages({ path }, home);
      expect(loaded).toMatchObject({ id, reference: "example.test/a:1" });
      expect(await flamebox.checkImages(home)).toEqual([]);
      const { stdout } = await run("tar", ["tf", path]);
      expect(stdout.split("\n")).toContain(`blobs/sha512/${id.slice("sha512:".length)}`);
    },
  );

  // It reads no more of them: what it writes or verifies in other ways, it knows by SHA-256 only.
  test.skipIf(missingPrograms("skopeo").length > 0)("skopeo finds the config in the archive", async () => {
    const args = ["inspect", "--config", "--raw", `docker-archive:${await saved("docker-archive")}`];
    const { stdout } = await run("skopeo", args, { encoding: "buffer" });
    expect(digestOf(stdout, "sha512")).toBe(id);
  });
});
