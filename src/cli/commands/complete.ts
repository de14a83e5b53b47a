import type { Command } from "commander";
import type { CliContext } from "../context.ts";

/** Defines `__complete`, which completion scripts ask for what is not in the tree. Silent when it fails. */
export function define(command: Command, context: CliContext): void {
  command.argument("<kind>", "images or containers");
  command.action(async (kind: string) => {
    const { pathsFrom } = await import("../args/access.ts");
    const { print } = await import("../output/print.ts");
    const { shortNames } = await import("../completion/images.ts");
    try {
      const library = await context.loadLibrary();
      const options = { paths: pathsFrom(context.env, library) };
      const names =
        kind === "images"
          ? shortNames(await library.listImages(options))
          : kind === "containers"
            ? (await library.listContainers({ ...options, all: true })).map(({ name }) => name)
            : [];
      await print(context, names.map((name) => `${name}\n`).join(""));
    } catch {
      // A message in the middle of somebody's command line helps nobody.
    }
  });
}
