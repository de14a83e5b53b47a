/** The programs in examples/, compiled as their reader would compile them, and run. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";
import { repository } from "../support/images/layouts.ts";

const root = process.getuid?.() === 0;
let home: Home;
let dir: string;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  // The examples use the default directories; HOME decides where these are.
  await mkdir(join(home.dir, ".local", "share"), { recursive: true });
  await symlink(home.paths.dataDir, join(home.dir, ".local", "share", "flamebox"));
  await mkdir(join(repository, ".cache"), { recursive: true });
  // Inside the package, so that "flamebox" is this one.
  dir = await mkdtemp(join(repository, ".cache", "example-"));
});
afterAll(async () => {
  await rm(dir, { recursive: true, force: true });
  await home[Symbol.asyncDispose]();
});

async function runExample(name: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const source = await readFile(join(repository, "examples", `${name}.ts`), "utf8");
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext };
  const program = join(dir, `${name}.mjs`);
  await writeFile(program, ts.transpileModule(source, { compilerOptions }).outputText);
  const env = { ...process.env, HOME: home.dir, FLAMEBOX_HOME: home.dir };
  return await promisify(execFile)(process.execPath, [program, ...args], { env });
}

const image = (name: string) => `${inject("registry")}/flamebox/${name}`;

test("examples/run-python.ts", async () => {
  const { stdout, stderr } = await runExample("run-python", image("debian:12"));
  expect(stdout).toMatch(/^process 1 on Linux 6\.12\./);
  expect(stderr).toContain(`${image("debian:12")} is sha256:`);
  expect(await home.leftovers()).toEqual([]);
});

test("examples/code-interpreter.ts", async () => {
  const { stdout } = await runExample("code-interpreter", image("debian:12"));
  const lines = stdout.trim().split("\n");
  expect(lines.slice(0, 3)).toEqual(["0: exit 0 5050", "1: exit 0 ", "2: exit 0 kept between snippets"]);
  expect(lines[3]).toMatch(/^3: exit 1 urllib\.error\.URLError: .*unreachable/);
  expect(lines[4]).toBe("4: the command took longer than 10000 ms, and was killed");
  expect(await home.leftovers()).toEqual([]);
});

test("examples/parallel-tests.ts", async () => {
  const { stdout } = await runExample("parallel-tests", image("busybox:1"));
  expect(stdout.trim().split("\n").toSorted()).toEqual([
    "5 of 6 passed",
    "not ok test 3",
    ...[0, 1, 2, 4, 5].map((index) => `ok test ${index}`),
  ]);
  expect(await home.leftovers()).toEqual([]);
});

test.skipIf(!root)(
  "examples/throwaway-postgres.ts (skipped without root, who can make the image)",
  async () => {
    const { stdout } = await runExample("throwaway-postgres", image("services:postgres"));
    expect(stdout).toMatch(/^the server at 127\.0\.0\.1:\d+ counts 42\n$/);
    expect(await home.leftovers()).toEqual([]);
  },
);

test("examples/web-server.ts", async () => {
  const { stdout } = await runExample("web-server", image("debian:12"));
  expect(stdout).toBe("200 <h1>from a machine of its own</h1>\n");
  expect(await home.leftovers()).toEqual([]);
});
