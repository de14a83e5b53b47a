import type { Command } from "commander";
import type { CliContext } from "../context.ts";

/** Defines `__complete`, which completion scripts ask for what is not in the tree. Silent when it fails. */
export function define(command: Command, context: CliContext): void {
  command.argument("<kind>", "images, containers, networks, templates, kernels or places");
  command.action(async (kind: string) => {
    const { cniFrom, pathsFrom } = await import("../args/access.ts");
    const { print } = await import("../output/print.ts");
    const { shortNames } = await import("../completion/images.ts");
    try {
      const library = await context.loadLibrary();
      const options = { paths: pathsFrom(context.env, library) };
      const containers = async () =>
        (await library.listContainers({ ...options, all: true })).map(({ name }) => name);
      const lists: Readonly<Record<string, () => Promise<string[]>>> = {
        images: async () => shortNames(await library.listImages(options)),
        containers,
        networks: async () => [
          "user",
          "none",
          ...(await library.listNetworks(options)).map(({ name }) => name),
          ...(await library.listCniNetworks(cniFrom(context.env))).map(({ name }) => name),
        ],
        templates: async () => (await library.listTemplates(options)).map(({ key }) => key),
        kernels: async () => (await library.listKernels(options)).map(({ name }) => name),
        places: async () => (await containers()).map((name) => `${name}:`),
      };
      const names = Object.hasOwn(lists, kind) ? ((await lists[kind]?.()) ?? []) : [];
      await print(context, names.map((name) => `${name}\n`).join(""));
    } catch {
      // A message in the middle of somebody's command line helps nobody.
    }
  });
}
