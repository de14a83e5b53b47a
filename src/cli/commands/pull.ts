import type { Command } from "commander";
import { type PullFlags, pullOptionsFrom } from "../args/access.ts";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function pull(context: CliContext, reference: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatImages } = await import("../output/images.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const access = pullOptionsFrom(command.opts<PullFlags>(), context.env);
  const format =
    settings.format === undefined ? undefined : formatImages(settings.format, context.clock.now());
  const image = await operate(context, settings, async ({ library, options }) =>
    library.pull(reference, { ...access, ...options }),
  );
  if (settings.json) await print(context, toJson(image));
  else if (format !== undefined) await print(context, format([image]));
  else if (settings.quiet) await print(context, `${image.reference}\n`);
  else await print(context, `Digest: ${image.digest}\n${image.reference}\n`);
}

/** Defines `pull`. */
export function define(command: Command, context: CliContext): void {
  command
    .description(
      "Fetch an image and make its layers ready to run: from a registry, or from a place on this host.",
    )
    .argument(
      "<image>",
      "alpine, ghcr.io/owner/name:tag, name@sha256:…; oci:DIR, oci-archive:FILE, docker-archive:FILE, dir:DIR, tar:FILE",
    )
    .option("--platform <platform>", "os/architecture[/variant]; default: the host's")
    .option("--insecure", "allow http and unverified TLS for the registry");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox pull alpine", "docker.io/library/alpine:latest"],
      ["flamebox pull localhost:5000/team/app:1.2", "from a registry on this host, over http"],
      ["flamebox pull oci-archive:app.tar:1.2", "the image 1.2 in an archive"],
      ["flamebox pull --platform linux/arm64 debian:12", "for another architecture"],
    ],
    notes: [
      "Places on this host are written as skopeo's: oci:DIR[:NAME] and oci-archive:FILE[:NAME] for OCI layouts, docker-archive:FILE[:NAME] for what docker save writes, dir:DIR for skopeo's own. NAME is one of several: a tag, a reference, or @0. A root file system without an image around it is dir:DIR or tar:FILE (plain, gzip, zstd). run, create and rootfs take them as well.",
      "Credentials are those that flamebox login, docker login and podman login keep. docs/registries.md tells of mirrors, certificates and proxies.",
    ],
  });
  command.action(async (reference: string) => pull(context, reference, command));
}
