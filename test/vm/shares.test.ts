/** Host folders in real machines: what the container does the host sees, and the other way round. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Ended, Home } from "../support/home.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
let home: Home;
let dir: string;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  const pulled = await home.run(["pull", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
});
afterAll(async () => {
  expect(await home.leftovers()).toEqual([]);
  await home[Symbol.asyncDispose]();
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "flamebox-share-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

async function shell(binds: readonly string[], script: string, input = ""): Promise<Ended> {
  const volumes = binds.flatMap((bind) => ["-v", bind]);
  return await home.run(["run", "-q", "-i", "--network", "none", ...volumes, busybox, "sh", "-c", script], {
    input,
  });
}

describe("a host folder", () => {
  test("is read and written", async () => {
    mkdirSync(join(dir, "sub"));
    writeFileSync(join(dir, "sub", "from-host"), "hello\n");
    const ended = await shell(
      [`${dir}:/src`],
      "cat /src/sub/from-host; echo back >/src/from-guest; ls -la /src; mount | grep /src",
    );
    expect(ended, ended.stderr).toMatchObject({ code: 0, stderr: "" });
    expect(ended.stdout).toContain("hello\n");
    expect(readFileSync(join(dir, "from-guest"), "utf8")).toBe("back\n");
    console.log(ended.stdout);
  });
});
