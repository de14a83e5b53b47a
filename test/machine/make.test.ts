/** make(1) for real, on makefiles of a few lines. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, it } from "vitest";
import { make } from "../../src/machine/kernel/make.ts";
import { NEEDS, requireToolchain } from "../../src/machine/kernel/toolchain.ts";
import { startTicksOf } from "../../src/util/liveness.ts";
import { compileSource } from "../support/compiled.ts";
import { scratchDir } from "../support/rootfs-image.ts";

/** Prints a line, starts a program that stays, says who it is, and waits for it. */
const STAYS = "all:\n\t@echo begun\n\t@sleep 600 & echo $$! > pid; wait\n";

let cwd: string;

async function makefile(text: string): Promise<void> {
  await writeFile(join(cwd, "Makefile"), text);
}

async function eventually(what: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 200 && !what(); tries++) await sleep(25);
  return what();
}

const sleeper = () => Number(readFileSync(join(cwd, "pid"), "latin1"));
const hasBegun = () => existsSync(join(cwd, "pid")) && sleeper() > 0;

beforeEach((context) => {
  const scratch = scratchDir();
  context.onTestFinished(() => scratch[Symbol.dispose]());
  cwd = scratch.path;
});

describe("make", () => {
  it("tells how many lines there were", async () => {
    await makefile("all:\n\t@for i in 1 2 3; do echo CC $$i; done; echo not counted >&2\n");
    const counts: number[] = [];
    await make(["all"], { cwd, onLine: (count) => counts.push(count) });
    expect(counts.at(-1)).toBe(3);
  });

  it("has its variables from the command line, whatever the file says", async () => {
    await makefile("ARCH=other\nall:\n\t@test $$ARCH = x86_64 -a $(ARCH) = x86_64\n");
    await expect(make(["ARCH=x86_64", "all"], { cwd })).resolves.toBeUndefined();
  });

  it("ends with the last lines of what was said when it fails", async () => {
    await makefile(
      "all:\n\t@i=0; while test $$i -lt 3000; do echo warning $$i >&2; i=$$((i+1)); done; printf 'a.c:1: \\033[31merror\\n' >&2; exit 3\n",
    );
    const error = await make(["all"], { cwd }).catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: "kernel-build-failed" });
    const lines = (error as Error).message.split("\n");
    expect(lines[0]).toBe("the kernel was not built: make ended with exit code 2");
    expect(lines).toContain("  a.c:1: \\u{1b}[31merror");
    expect(lines.length).toBeLessThanOrEqual(13);
  });

  it("ends with all that it has started when it is aborted", async () => {
    await makefile(STAYS);
    const stop = new AbortController();
    const job = make(["all"], { cwd, signal: stop.signal });
    job.catch(() => {});
    expect(await eventually(hasBegun)).toBe(true);
    stop.abort(new Error("enough"));
    await expect(job).rejects.toThrow("enough");
    expect(await eventually(() => startTicksOf(sleeper()) === undefined)).toBe(true);
  });

  it("does not begin when it has been aborted", async () => {
    await makefile(STAYS);
    await expect(make(["all"], { cwd, signal: AbortSignal.abort(new Error("before")) })).rejects.toThrow(
      "before",
    );
    expect(hasBegun()).toBe(false);
  });

  it("ends with all that it has started when its parent is killed", async () => {
    await makefile(STAYS);
    using compiled = compileSource(["machine", "util", "formats"]);
    const script = `import { make } from ${JSON.stringify(compiled.url("machine/kernel/make.ts").href)};
      await make(["all"], { cwd: ${JSON.stringify(cwd)} });`;
    const parent = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" });
    expect(await eventually(hasBegun)).toBe(true);
    parent.kill("SIGKILL");
    expect(await eventually(() => startTicksOf(sleeper()) === undefined)).toBe(true);
  });
});

describe("what a build takes", () => {
  it("is told at once, with the packages", async () => {
    const needs = [
      ["make", "make"],
      ["no-such-program", "flex"],
      ["/no/such.h", "libelf-dev"],
    ] as const;
    await expect(requireToolchain(needs)).rejects.toMatchObject({
      code: "build-tools-missing",
      message: "to build a kernel, these packages are missing: flex libelf-dev",
      hint: "as root: apt-get install flex libelf-dev",
    });
    await requireToolchain([["make", "make"]]);
  });

  it("names each package once", () => {
    const packages = NEEDS.map(([, debianPackage]) => debianPackage);
    expect(new Set(packages).size).toBe(packages.length);
  });
});
