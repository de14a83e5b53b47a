/** The launcher with a program of three lines, as a process: what it keeps, and what it does not believe. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import nodeModule from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const source = fileURLToPath(new URL("../../src/cli/launch.ts", import.meta.url));
/** Node keeps it, in its own way. */
const isBuiltIn = "enableCompileCache" in nodeModule;
const PROGRAM = `
const { basename } = require("node:path");
console.log(basename(__filename), __dirname === require.main?.path, process.argv.slice(2).join(" "));
if (process.argv.includes("fail")) process.exitCode = 3;
`;

let dir: string;
let cache: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "flamebox-launch-"));
  cache = join(dir, "home", "cache");
  const { outputText } = ts.transpileModule(readFileSync(source, "utf8"), {
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
  });
  writeFileSync(join(dir, "main.mjs"), outputText);
  writeFileSync(join(dir, "bundle.js"), PROGRAM);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function launch(words: readonly string[], env: Record<string, string> = {}): string {
  const options = { env: { FLAMEBOX_HOME: join(dir, "home"), ...env }, encoding: "utf8" } as const;
  return execFileSync(process.execPath, [join(dir, "main.mjs"), ...words], options);
}

/** Names without the program's key. */
function kept(): string[] {
  try {
    return readdirSync(cache)
      .map((name) => name.replace(/^code-[0-9a-f]{16}-/, ""))
      .toSorted();
  } catch {
    return [];
  }
}

function keptFile(command: string): string {
  return join(cache, readdirSync(cache).find((name) => name.endsWith(`-${command}.bin`)) ?? "");
}

test("the program gets its words, and its own place", () => {
  expect(launch(["run", "x"])).toBe("bundle.js false run x\n");
});

describe.skipIf(isBuiltIn)("what V8 made of it", () => {
  test("is kept for each command, for its owner alone, and made once", () => {
    launch(["run", "one"]);
    launch(["ps"]);
    expect(kept()).toEqual(["ps.bin", "run.bin"]);
    expect(statSync(cache).mode & 0o777).toBe(0o700);
    const file = keptFile("run");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { ino } = statSync(file);
    expect(launch(["run", "two"])).toBe("bundle.js false run two\n");
    expect(statSync(file).ino).toBe(ino);
  });

  test.each([["../../x"], ["--version"], ["a".repeat(17)], ["RUN"]])("makes no name of %s", (word) => {
    launch([word]);
    expect(kept()).toEqual(["other.bin"]);
  });

  test("is not kept of a command that failed", () => {
    const { status } = spawnSync(process.execPath, [join(dir, "main.mjs"), "fail"], {
      env: { FLAMEBOX_HOME: join(dir, "home") },
    });
    expect([status, kept()]).toEqual([3, []]);
  });

  test.each([
    ["is no code", (file: string) => writeFileSync(file, "no code")],
    ["is empty", (file: string) => writeFileSync(file, "")],
    ["is cut off", (file: string) => writeFileSync(file, readFileSync(file).subarray(0, 200))],
    ["others may write", (file: string) => chmodSync(file, 0o622)],
  ])("is made anew when the file %s", (_what, damage) => {
    launch(["run"]);
    const file = keptFile("run");
    const { ino } = statSync(file);
    damage(file);
    expect(launch(["run", "again"])).toBe("bundle.js false run again\n");
    expect(statSync(file).ino).not.toBe(ino);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  test("is another one's when the program is another", () => {
    launch(["run"]);
    writeFileSync(join(dir, "bundle.js"), 'console.log("new");\n');
    expect(launch(["run"])).toBe("new\n");
    expect(kept()).toEqual(["run.bin", "run.bin"]);
  });

  test("goes when it is old", () => {
    launch(["run"]);
    utimesSync(keptFile("run"), 0, 0);
    launch(["ps"]);
    expect(kept()).toEqual(["ps.bin"]);
  });

  test("is not kept where that is turned off, or cannot be", () => {
    launch(["run"], { NODE_DISABLE_COMPILE_CACHE: "1" });
    expect(kept()).toEqual([]);
    writeFileSync(join(dir, "home"), "a file");
    expect(launch(["run"])).toBe("bundle.js false run\n");
  });
});
