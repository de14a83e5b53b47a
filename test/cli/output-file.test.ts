/** `export -o`: a new file appears whole; what is no file is written into. */
import { execFileSync, spawn } from "node:child_process";
import { lstat, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { createWriteStream } from "../../src/cli/output/file.ts";

async function newDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "flamebox-output-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function put(path: string, text: string): Promise<void> {
  const file = await createWriteStream(path);
  try {
    file.stream.write(text);
    await file.keep();
  } finally {
    await file.discard();
  }
}

test("a file, also behind a link, is replaced when the new one is complete", async () => {
  const dir = await newDir();
  await writeFile(join(dir, "file"), "old");
  await symlink("file", join(dir, "link"));
  const broken = await createWriteStream(join(dir, "link"));
  broken.stream.write("half");
  await broken.discard();
  expect(await readFile(join(dir, "file"), "utf8")).toBe("old");
  await put(join(dir, "link"), "new");
  expect(await readFile(join(dir, "file"), "utf8")).toBe("new");
  expect((await lstat(join(dir, "link"))).isSymbolicLink()).toBe(true);
  expect((await readdir(dir)).sort()).toEqual(["file", "link"]);
});

test("a FIFO, also behind a link, is written into", async () => {
  const dir = await newDir();
  execFileSync("mkfifo", [join(dir, "fifo")]);
  await symlink("fifo", join(dir, "link"));
  const child = spawn("cat", [join(dir, "fifo")], { stdio: ["ignore", "pipe", "ignore"] });
  const got = buffer(child.stdout);
  await put(join(dir, "link"), "through");
  expect((await got).toString()).toBe("through");
  expect((await lstat(join(dir, "fifo"))).isFIFO()).toBe(true);
  expect((await readdir(dir)).sort()).toEqual(["fifo", "link"]);
});
