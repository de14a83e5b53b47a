/**
 * A build of the command line in a temporary package: `src/cli` as it is, the process library as `index.js`.
 * Transpiled file by file, which takes a second and needs nothing else of the tree to be in order.
 */
import {
  cpSync,
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
import { fileURLToPath } from "node:url";
import ts from "typescript";

const repository = fileURLToPath(new URL("../..", import.meta.url));

function transpile(from: string, to: string): void {
  const { outputText } = ts.transpileModule(readFileSync(from, "utf8"), {
    fileName: from,
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
  });
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, outputText);
}

function transpileTree(from: string, to: string): void {
  for (const entry of readdirSync(from, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
    const path = join(entry.parentPath, entry.name);
    transpile(path, join(to, `${path.slice(from.length + 1, -3)}.js`));
  }
}

export interface BuiltCli {
  readonly directory: string;
  /** Path of the executable; run it with `process.execPath`. */
  readonly main: string;
  remove(): void;
}

export function buildCli(): BuiltCli {
  const directory = mkdtempSync(join(tmpdir(), "flamebox-cli-"));
  symlinkSync(join(repository, "node_modules"), join(directory, "node_modules"));
  cpSync(join(repository, "package.json"), join(directory, "package.json"));
  for (const part of [join("src", "cli"), join("src", "util"), join("test", "cli")]) {
    transpileTree(join(repository, part), join(directory, part));
  }
  writeFileSync(join(directory, "src", "index.js"), 'export * from "../test/cli/process-library.js";\n');
  return {
    directory,
    main: join(directory, "src", "cli", "main.js"),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
