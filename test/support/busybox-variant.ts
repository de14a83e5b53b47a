/** Images for one test: the busybox image's layer with a layer of the test's own on it, and any config. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { layout } from "./images/layouts.ts";
import { writeLayout } from "./oci-layout.ts";
import { archive } from "./tar-builder.ts";

export interface Variant {
  /** Tar entries of the second layer (tar-builder's `entry`). */
  readonly entries?: readonly Uint8Array[];
  /** Members of the image config's `config`; Cmd, Env and WorkingDir of the busybox image are not inherited. */
  readonly config?: object;
}

async function busyboxLayer(): Promise<Uint8Array> {
  const { dir } = await layout("busybox");
  const blob = async (digest: string): Promise<Buffer> =>
    await readFile(join(dir, "blobs", "sha256", digest.replace("sha256:", "")));
  interface Descriptor {
    readonly digest: string;
  }
  const index = JSON.parse(await readFile(join(dir, "index.json"), "utf8")) as { manifests: Descriptor[] };
  const manifest = JSON.parse((await blob(index.manifests[0]?.digest ?? "")).toString()) as {
    layers: Descriptor[];
  };
  return gunzipSync(await blob(manifest.layers[0]?.digest ?? ""));
}

/** Pushes each variant to `registry` as `flamebox/NAME:1` and returns the references by name. */
export async function pushVariants<Name extends string>(
  registry: string,
  variants: Readonly<Record<Name, Variant>>,
): Promise<Record<Name, string>> {
  const base = await busyboxLayer();
  const references: Partial<Record<Name, string>> = {};
  for (const name of Object.keys(variants) as Name[]) {
    const { entries = [], config = {} } = variants[name];
    const dir = await mkdtemp(join(tmpdir(), "flamebox-variant-"));
    try {
      const platform = { os: "linux", architecture: "amd64" };
      const layers = entries.length === 0 ? [base] : [base, archive(...entries)];
      const env = { Env: ["PATH=/bin:/sbin:/usr/bin:/usr/sbin"], Cmd: ["/bin/sh"] };
      await writeLayout(dir, "1", [{ platform, layers, config: { ...env, ...config } }]);
      const reference = `${registry}/flamebox/${name}:1`;
      const places = [`oci:${dir}:1`, `docker://${reference}`];
      const args = ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", ...places];
      await promisify(execFile)("skopeo", args);
      references[name] = reference;
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  }
  return references as Record<Name, string>;
}
