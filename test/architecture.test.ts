/**
 * The shape of the source tree, enforced: which folder may import which, what only the command line may touch,
 * and how large a file gets. docs/architecture.md shows the import table to people; it has to be the same one.
 */
import { readFileSync, readdirSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const repository = fileURLToPath(new URL("..", import.meta.url));
const src = join(repository, "src");

/** What each area may import, besides itself. `index.ts` is an area of its own. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  util: [],
  formats: ["util"],
  reference: ["util"],
  oci: ["reference", "util"],
  auth: ["reference", "util"],
  source: ["auth", "formats", "oci", "reference", "util"],
  store: ["oci", "reference", "util"],
  rootfs: ["formats", "oci", "reference", "store", "util"],
  images: ["oci", "reference", "rootfs", "source", "store", "util"],
  "runtime-spec": ["oci", "util"],
  machine: ["formats", "util"],
  network: ["util"],
  agent: ["util"],
  share: ["formats", "util"],
  container: [
    "agent",
    "auth",
    "formats",
    "images",
    "machine",
    "network",
    "oci",
    "reference",
    "rootfs",
    "runtime-spec",
    "share",
    "source",
    "store",
    "util",
  ],
  "index.ts": ["container", "images", "store", "util"],
  cli: ["index.ts"],
};

const MAX_LINES = 400;
/** Files that are longer, and why that is better than cutting them. */
const longer: Readonly<Record<string, string>> = {};

interface Source {
  /** Relative to the repository. */
  readonly path: string;
  readonly area: string;
  readonly text: string;
  readonly tree: ts.SourceFile;
}

function typescriptFiles(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** The first component below src/: a folder's name, or a file's own. */
function areaOf(absolute: string): string {
  return relative(src, absolute).split("/")[0] ?? "";
}

const sources: Source[] = typescriptFiles(src).map((absolute) => {
  const text = readFileSync(absolute, "utf8");
  const tree = ts.createSourceFile(absolute, text, ts.ScriptTarget.ES2023, true);
  return { path: relative(repository, absolute), area: areaOf(absolute), text, tree };
});

function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
}

/** Every module that a file names: import, export … from, import(), and import("…") types. */
function specifiersOf(tree: ts.SourceFile): string[] {
  const found: string[] = [];
  visit(tree, (node) => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      if (ts.isStringLiteral(node.moduleSpecifier)) found.push(node.moduleSpecifier.text);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      // A computed specifier cannot be checked, so it counts as a module that nothing allows.
      found.push(argument && ts.isStringLiteralLike(argument) ? argument.text : "(computed)");
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      if (ts.isStringLiteral(node.argument.literal)) found.push(node.argument.literal.text);
    }
  });
  return found;
}

function importProblems({ path, area, tree }: Source): string[] {
  const permitted = [area, ...(allowed[area] ?? [])];
  return specifiersOf(tree)
    .filter((specifier) => specifier.startsWith("."))
    .flatMap((specifier) => {
      const target = resolve(repository, dirname(path), specifier);
      const where = `${path} imports ${specifier}`;
      if (!specifier.endsWith(".ts")) return [`${where}, which does not end in .ts`];
      if (relative(src, target).startsWith("..")) return [`${where}, which is outside of src/`];
      return permitted.includes(areaOf(target))
        ? []
        : [`${where}, and ${area} may not import ${areaOf(target)}`];
    });
}

const cliOnly =
  /^(console\.(log|error|warn|info|debug|trace|table|dir)|process\.(env|exit|exitCode|stdin|stdout|stderr|argv|abort|chdir|umask))$/;
/** Uses of the process outside of src/cli/ that are right, and why. */
const excepted: Readonly<Record<string, string>> = {
  "src/container/monitor-main.ts process.exit": "is a process of its own, and ends it",
  "src/util/find-program.ts process.env": "looks a program up in PATH, as spawning it would",
};

/** `process.env`, `console.log`, …: property accesses on these globals that only src/cli/ may make. */
function processProblems({ path, tree }: Source): string[] {
  const found: string[] = [];
  visit(tree, (node) => {
    if (!ts.isPropertyAccessExpression(node) || !ts.isIdentifier(node.expression)) return;
    const written = `${node.expression.text}.${node.name.text}`;
    if (cliOnly.test(written) && excepted[`${path} ${written}`] === undefined) {
      const { line } = tree.getLineAndCharacterOfPosition(node.getStart());
      found.push(`${path}:${line + 1} uses ${written}`);
    }
  });
  return found;
}

function tableInDocs(): Record<string, string[]> {
  const text = readFileSync(join(repository, "docs", "architecture.md"), "utf8");
  const rows = [...text.matchAll(/^\| `([a-z-]+(?:\.ts)?)\/?` \| ([^|]*) \|/gm)];
  return Object.fromEntries(
    rows.map(([, area = "", list = ""]) => [
      area,
      [...list.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name),
    ]),
  );
}

describe("the source tree", () => {
  test("has no area that the import table does not know, and the table none that is not there", () => {
    const areas = [...new Set(sources.map(({ area }) => area))].sort();
    expect(areas).toEqual(Object.keys(allowed).sort());
  });

  test("imports only what the table allows", () => {
    expect(sources.flatMap(importProblems)).toEqual([]);
  });

  test("docs/architecture.md shows the same table", () => {
    expect(tableInDocs()).toEqual(allowed);
  });

  test("the table has no cycle", () => {
    const order: string[] = [];
    const walk = (area: string, path: readonly string[]): void => {
      expect(path, `a cycle through ${area}`).not.toContain(area);
      for (const next of allowed[area] ?? []) walk(next, [...path, area]);
      if (!order.includes(area)) order.push(area);
    };
    for (const area of Object.keys(allowed)) walk(area, []);
    expect(order).toHaveLength(Object.keys(allowed).length);
  });

  test("imports packages only when package.json depends on them", () => {
    const { dependencies } = JSON.parse(readFileSync(join(repository, "package.json"), "utf8")) as {
      dependencies: Record<string, string>;
    };
    const known = new Set(Object.keys(dependencies));
    const problems = sources.flatMap(({ path, tree }) =>
      specifiersOf(tree)
        .filter((specifier) => !specifier.startsWith("."))
        .filter((specifier) => {
          if (specifier.startsWith("node:")) return !builtinModules.includes(specifier.slice(5));
          const name = specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1);
          return !known.has(name.join("/"));
        })
        .map((specifier) => `${path} imports ${specifier}`),
    );
    expect(problems).toEqual([]);
  });

  test("touches the environment, the streams and the exit of the process only in src/cli/", () => {
    expect(sources.filter(({ area }) => area !== "cli").flatMap(processProblems)).toEqual([]);
  });

  test(`has files of at most ${MAX_LINES} lines, or says why not`, () => {
    const long = sources
      .filter(({ text }) => text.split("\n").length - 1 > MAX_LINES)
      .map(({ path }) => path);
    expect(long).toEqual(Object.keys(longer));
  });

  test("has no file named after nothing", () => {
    const vague = /(^|\/)(utils?|helpers?|misc|common)\.ts$|(Impl|Manager)\.ts$|\/I[A-Z]\w*\.ts$/;
    const places = ["src", "test", "bench", "examples"].flatMap((dir) =>
      typescriptFiles(join(repository, dir)),
    );
    expect(places.map((path) => relative(repository, path)).filter((path) => vague.test(path))).toEqual([]);
  });
});

describe("the checks themselves see what they are for", () => {
  const parse = (path: string, text: string): Source => ({
    path,
    area: areaOf(join(repository, path)),
    text,
    tree: ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true),
  });

  test.each([
    ["an import leftwards", `import { x } from "../store/store.ts";`],
    ["a type import leftwards", `import type { X } from "../store/store.ts";`],
    ["a re-export leftwards", `export { x } from "../store/store.ts";`],
    ["a dynamic import leftwards", `await import("../store/store.ts");`],
    ["an import type leftwards", `let x: import("../store/store.ts").X;`],
    ["an import from outside of src", `import "../../test/support/registry.ts";`],
    ["an import without its ending", `import "./progress";`],
  ])("%s", (_name, text) => {
    expect(importProblems(parse("src/util/probe.ts", text))).toHaveLength(1);
  });

  test.each([
    ["process.env", `const home = process.env["HOME"];`],
    ["process.exit", "process.exit(1);"],
    ["console", `console.error("no");`],
  ])("%s", (_name, text) => {
    expect(processProblems(parse("src/util/probe.ts", text))).toHaveLength(1);
  });
});
