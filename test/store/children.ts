/**
 * Other processes for tests: Node 20 cannot run TypeScript, so what a child needs is compiled, without type
 * checks, into a directory under node_modules (where packages are found), which is removed afterwards.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const COMPILED = ["src/util", "src/reference", "src/oci", "src/store", "test/store"];

async function compile(file: string, outDir: string): Promise<void> {
  const text = await readFile(join(ROOT, file), "utf8");
  const { outputText } = ts.transpileModule(text, {
    fileName: file,
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
  });
  const out = join(outDir, file.replace(/\.ts$/, ".js"));
  await mkdir(dirname(out), { recursive: true });
  // Without a program, the compiler leaves the names in import() calls as they are.
  await writeFile(out, outputText.replace(/(import\("\.[^"]*)\.ts"\)/g, '$1.js")'));
}

export interface ChildResult {
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
  /** The last line that it printed. */
  readonly result: Record<string, number>;
}

export interface Child {
  readonly process: ChildProcess;
  /** Its store is open. */
  readonly ready: Promise<void>;
  readonly ended: Promise<ChildResult>;
}

export interface Children extends AsyncDisposable {
  start(...args: readonly string[]): Child;
}

function launch(script: string, args: readonly string[]): Child {
  const child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  let last = "{}";
  let isReady = () => {};
  // Also when it ends before: whoever waits then looks at how it ended.
  const ready = new Promise<void>((resolve) => (isReady = resolve));
  createInterface(child.stdout).on("line", (line) => {
    if (line === "ready") isReady();
    else last = line;
  });
  const ended = new Promise<ChildResult>((resolve) => {
    child.once("close", (_code, signal) => {
      isReady();
      resolve({ signal, stderr, result: JSON.parse(last) as Record<string, number> });
    });
  });
  return { process: child, ready, ended };
}

export async function compileChildren(): Promise<Children> {
  const cache = join(ROOT, "node_modules", ".cache");
  await mkdir(cache, { recursive: true });
  const outDir = await mkdtemp(join(cache, "flamebox-children-"));
  await writeFile(join(outDir, "package.json"), '{"type":"module"}');
  for (const dir of COMPILED) {
    for (const name of await readdir(join(ROOT, dir))) {
      if (name.endsWith(".ts") && !name.endsWith(".test.ts")) await compile(join(dir, name), outDir);
    }
  }
  const running = new Set<Child>();
  return {
    start(...args) {
      const child = launch(join(outDir, "test/store/child.js"), args);
      running.add(child);
      void child.ended.then(() => running.delete(child));
      return child;
    },
    async [Symbol.asyncDispose]() {
      for (const child of running) child.process.kill("SIGKILL");
      await Promise.all([...running].map((child) => child.ended));
      await rm(outDir, { recursive: true, force: true });
    },
  };
}
