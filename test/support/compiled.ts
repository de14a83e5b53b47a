/**
 * Threads need JavaScript: Node 20 cannot run the sources as they are. This compiles them, file by file and
 * without checking types, into a temporary directory.
 */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import ts from "typescript";

const SOURCE = fileURLToPath(new URL("../../src", import.meta.url));
const MODULES = fileURLToPath(new URL("../../node_modules", import.meta.url));

export interface Compiled extends Disposable {
  /** The compiled form of `rootfs/convert-worker.ts` and the like. */
  url(source: string): URL;
}

/** Compiles the given folders of `src`. */
export function compileSource(folders: readonly string[]): Compiled {
  const dir = mkdtempSync(join(tmpdir(), "flamebox-compiled-"));
  writeFileSync(join(dir, "package.json"), '{"type":"module"}');
  symlinkSync(MODULES, join(dir, "node_modules"));
  for (const folder of folders) {
    for (const name of readdirSync(join(SOURCE, folder), { recursive: true, encoding: "utf8" })) {
      if (!name.endsWith(".ts")) continue;
      const out = join(dir, folder, name.replace(/\.ts$/, ".js"));
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, javaScript(readFileSync(join(SOURCE, folder, name), "utf8")));
    }
  }
  return {
    url: (source) => pathToFileURL(join(dir, source.replace(/\.ts$/, ".js"))),
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

function javaScript(source: string): string {
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
  });
  return outputText;
}

/** Compiles these files and folders of the repository for a process of its own, each to where it stands. */
export function compileRepository(parts: readonly string[]): Compiled {
  const dir = mkdtempSync(join(tmpdir(), "flamebox-compiled-"));
  const root = dirname(SOURCE);
  writeFileSync(join(dir, "package.json"), '{"type":"module"}');
  symlinkSync(MODULES, join(dir, "node_modules"));
  for (const part of parts) {
    const files = part.endsWith(".ts")
      ? [part]
      : readdirSync(join(root, part), { recursive: true, encoding: "utf8" }).map((name) => join(part, name));
    for (const name of files) {
      if (!name.endsWith(".ts")) continue;
      const out = join(dir, name.replace(/\.ts$/, ".js"));
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, javaScript(readFileSync(join(root, name), "utf8")));
    }
  }
  return {
    url: (source) => pathToFileURL(join(dir, source.replace(/\.ts$/, ".js"))),
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}
