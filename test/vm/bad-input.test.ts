/** What a person gets wrong, or a host lacks: one line that names it, a hint, exit code 125, nothing left. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const registry = inject("registry");
const busybox = `${registry}/flamebox/busybox:1`;
let home: Home;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  await writeFile(join(home.dir, "no-kernel"), "this is no kernel");
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

test.each<[name: string, args: (dir: string) => string[], says: RegExp]>([
  ["an unknown repository", () => [`${registry}/flamebox/none:1`, "true"], /flamebox\/none/],
  ["an unknown tag", () => [`${registry}/flamebox/busybox:none`, "true"], /busybox:none/],
  ["a registry that is not there", () => ["127.0.0.1:1/x:1", "true"], /127\.0\.0\.1:1/],
  [
    "a platform that the image does not have",
    () => ["--platform", "linux/s390x", busybox, "true"],
    /linux\/s390x/,
  ],
  ["a reference that is none", () => ["UPPER/case", "true"], /UPPER\/case/],
  [
    "an image that may not be pulled",
    () => ["--pull", "never", `${registry}/flamebox/debian:12`, "true"],
    /debian:12/,
  ],
  ["a kernel that is missing", (dir) => ["--kernel", join(dir, "nowhere"), busybox, "true"], /nowhere/],
  ["a kernel that is none", (dir) => ["--kernel", join(dir, "no-kernel"), busybox, "true"], /no-kernel/],
  ["too little memory", () => ["-m", "1m", busybox, "true"], /memory/],
  ["a port without a network", () => ["--network", "none", "-p", "8080:80", busybox, "true"], /network/],
  ["a working directory that is relative", () => ["-w", "relative", busybox, "true"], /relative/],
])("%s", async (_name, args, says) => {
  const { code, stdout, stderr } = await home.run(["run", "--rm", "-q", ...args(home.dir)]);
  expect({ code, stdout }, stderr).toEqual({ code: 125, stdout: "" });
  const [first = "", ...rest] = stderr.trimEnd().split("\n");
  expect(first).toMatch(/^flamebox: /);
  expect(first).toMatch(says);
  expect(rest.length, stderr).toBeLessThanOrEqual(1);
  expect(await home.leftovers()).toEqual([]);
});
