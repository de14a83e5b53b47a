/** The program in examples/, compiled as its reader would compile it, and run. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import { repository } from "../support/images/layouts.ts";

test("examples/run-python.ts", async () => {
  await using home = await makeHome(inject("kernelDir"));
  // The example uses the default directories; HOME decides where these are.
  await mkdir(join(home.dir, ".local", "share"), { recursive: true });
  await symlink(home.paths.dataDir, join(home.dir, ".local", "share", "flamebox"));
  await mkdir(join(repository, ".cache"), { recursive: true });
  // Inside the package, so that "flamebox" is this one.
  const dir = await mkdtemp(join(repository, ".cache", "example-"));
  try {
    const source = await readFile(join(repository, "examples", "run-python.ts"), "utf8");
    const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext };
    const program = join(dir, "run-python.mjs");
    await writeFile(program, ts.transpileModule(source, { compilerOptions }).outputText);
    const env = { ...process.env, HOME: home.dir, FLAMEBOX_HOME: home.dir };
    const image = `${inject("registry")}/flamebox/debian:12`;
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [program, image], { env });
    expect(stdout).toMatch(/^process 1 on Linux 6\.12\./);
    expect(stderr).toContain(`${image} is sha256:`);
    expect(await home.leftovers()).toEqual([]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
