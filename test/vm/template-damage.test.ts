/** What goes wrong with templates costs time, never the container, and leaves nothing behind. */
import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import { existsSync } from "node:fs";
import { open, readFile, readdir, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { listTemplates } from "flamebox";
import type { TemplateInfo } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Ended, Home } from "../support/home.ts";
import { isLong, rows } from "../support/long.ts";

const KILLS = isLong ? 20 : 5;
const busybox = `${inject("registry")}/flamebox/busybox:1`;
let home: Home;
let templatesDir: string;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"), { ownTemplates: true });
  templatesDir = join(home.paths.dataDir, "templates");
  const pulled = await home.run(["pull", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
});
afterAll(async () => {
  const left = await home.leftovers();
  await home[Symbol.asyncDispose]();
  if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
});

const list = async () => await listTemplates({ paths: home.paths });
const echo = async (...options: string[]) =>
  await home.run(["run", "--rm", ...options, busybox, "echo", "it runs"]);
/** The template of the default size, made if it is not there. */
async function built(): Promise<{ info: TemplateInfo; dir: string }> {
  const { code, stdout, stderr } = await home.run(["template", "build"]);
  expect(code, stderr).toBe(0);
  const info = (await list()).find(({ key }) => key === stdout.trim());
  if (info === undefined) throw new Error(`no template ${stdout}`);
  return { info, dir: join(templatesDir, info.key) };
}

const ranWell = { code: 0, stdout: "it runs\n" };
const PREPARING = "preparing a machine, once";
const NOT_USED = "no template could be used";

async function flip(path: string, offset: number): Promise<void> {
  const handle = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, offset);
  await handle.write(Buffer.from([(byte[0] ?? 0) ^ 0xff]), 0, 1, offset);
  await handle.close();
}

describe("a damaged template is found, dropped and made anew", () => {
  test.each(
    rows<[string, (dir: string) => Promise<unknown>]>(
      [
        ["memory that somebody wrote to", async (dir) => await flip(join(dir, "ram"), 4096)],
        ["a state with another byte", async (dir) => await flip(join(dir, "state"), 5000)],
        ["a record without sense", async (dir) => await writeFile(join(dir, "template.json"), "{")],
      ],
      [
        ["memory that is cut short", async (dir) => await truncate(join(dir, "ram"), 1 << 20)],
        ["no memory", async (dir) => await rm(join(dir, "ram"))],
        ["an empty state", async (dir) => await truncate(join(dir, "state"), 0)],
        ["no record", async (dir) => await rm(join(dir, "template.json"))],
      ],
    ),
  )("%s", async (_, damage) => {
    const { info, dir } = await built();
    await damage(dir);
    const ended = await echo();
    expect(ended, ended.stderr).toMatchObject(ranWell);
    expect(ended.stderr).toContain(PREPARING);
    expect(ended.stderr).not.toContain(NOT_USED);
    const [now] = await list();
    expect(now?.key).toBe(info.key);
    expect(now?.createdAt).not.toBe(info.createdAt);
  });

  test("memory that the record takes for sound: the machine is booted, and the next start makes another", async () => {
    const { dir } = await built();
    const ramPath = join(dir, "ram");
    const { size } = await stat(ramPath);
    await truncate(ramPath, 0);
    await truncate(ramPath, size);
    await utimes(ramPath, 1_700_000_000, 1_700_000_000);
    const record = JSON.parse(await readFile(join(dir, "template.json"), "utf8")) as { ram: object };
    const ram = { sizeBytes: size, mtimeMs: (await stat(ramPath)).mtimeMs };
    await writeFile(join(dir, "template.json"), JSON.stringify({ ...record, ram }));
    const first = await echo();
    expect(first, first.stderr).toMatchObject(ranWell);
    expect(first.stderr).toContain(NOT_USED);
    expect(await list()).toEqual([]);
    const second = await echo();
    expect(second, second.stderr).toMatchObject(ranWell);
    expect(second.stderr).toContain(PREPARING);
  });

  test("a state that fits its record and no machine: so as well", async () => {
    const { dir } = await built();
    const record = JSON.parse(await readFile(join(dir, "template.json"), "utf8")) as object;
    // The checksum of "x".
    const state = { sizeBytes: 1, crc32: 0x8cdc1683 };
    await writeFile(join(dir, "state"), "x");
    await writeFile(join(dir, "template.json"), JSON.stringify({ ...record, state }));
    const ended = await echo();
    expect(ended, ended.stderr).toMatchObject(ranWell);
    expect(ended.stderr).toContain(NOT_USED);
    expect(await list()).toEqual([]);
  });
});

describe("making one", () => {
  test("two processes that want it at once make one", async () => {
    await home.run(["template", "rm", (await built()).info.key]);
    const both = await Promise.all([home.run(["template", "build"]), home.run(["template", "build"])]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(new Set(both.map(({ stdout }) => stdout)).size).toBe(1);
    expect(both.filter(({ stderr }) => stderr.includes(PREPARING))).toHaveLength(1);
    expect(await readdir(templatesDir)).toEqual([both[0]?.stdout.trim()]);
  });

  test("one that is killed leaves nothing that is used, and the next one makes it", async () => {
    await home.run(["template", "rm", (await built()).info.key]);
    const building = home.spawn(["template", "build"]);
    const unfinished = async () => (await readdir(templatesDir)).find((name) => name.startsWith(".new."));
    while ((await unfinished()) === undefined) await sleep(20);
    const dir = join(templatesDir, (await unfinished()) ?? "");
    while (!existsSync(join(dir, "ram"))) await sleep(20);
    await sleep(1_000);
    building.child.kill("SIGKILL");
    await building.ended;
    expect(await home.leftoverProcesses()).toEqual([]);
    // What it had of root's is collected by the next command.
    await home.run(["images"]);
    expect(await home.leftovers()).toEqual([]);
    expect(await list()).toEqual([]);
    const ended = await echo();
    expect(ended, ended.stderr).toMatchObject(ranWell);
    expect(ended.stderr).toContain(PREPARING);
    expect(await readdir(templatesDir)).toEqual((await list()).map(({ key }) => key));
  });

  test("one that is interrupted leaves nothing at all", async () => {
    await home.run(["template", "rm", (await built()).info.key]);
    const building = home.spawn(["template", "build"]);
    while (!(await readdir(templatesDir)).some((name) => name.startsWith(".new."))) await sleep(20);
    await sleep(500);
    building.child.kill("SIGINT");
    expect(await building.ended).toMatchObject({ code: 130 });
    expect(await readdir(templatesDir)).toEqual([]);
    expect(await home.leftovers()).toEqual([]);
  });
});

test("a template that is removed under a running container: it goes on", async () => {
  const { info } = await built();
  const script =
    "while read -r line; do dd if=/dev/zero bs=1M count=64 2>/dev/null | wc -c; echo $line; done";
  const running = home.spawn(["run", "--rm", "-i", busybox, "sh", "-c", script]);
  running.child.stdin.write("one\n");
  await running.shows("one");
  const removed = await home.run(["template", "rm", info.key.slice(0, 8)]);
  expect(removed).toMatchObject({ code: 0, stderr: "" });
  expect(removed.stdout).toContain(`Deleted: ${info.key}\n`);
  running.child.stdin.write("two\n");
  await running.shows("two");
  running.child.stdin.end();
  expect(await running.ended).toMatchObject({ code: 0, stdout: "67108864\none\n67108864\ntwo\n" });
});

test("--no-template boots, and makes none", async () => {
  expect(await home.run(["template", "ls", "-q"])).toMatchObject({ code: 0, stdout: "" });
  const ended = await echo("--no-template");
  expect(ended, ended.stderr).toMatchObject(ranWell);
  expect(await home.run(["template", "ls", "-q"])).toMatchObject({ code: 0, stdout: "" });
});

test("prune removes what no start would use, and keeps the rest", async () => {
  const { info, dir } = await built();
  const stale = "0".repeat(24);
  // With cp, whose copy of the memory is sparse as well.
  await promisify(execFile)("cp", ["-r", "--sparse=always", dir, join(templatesDir, stale)]);
  const pruned = await home.run(["template", "prune", "-q"]);
  expect(pruned).toMatchObject({ code: 0, stdout: `${stale}\n` });
  expect((await list()).map(({ key }) => key)).toEqual([info.key]);
});

test(`${KILLS} containers killed at random moments leave nothing`, { timeout: 300_000 }, async () => {
  const { info } = await built();
  const ends: Ended[] = [];
  for (let n = 0; n < KILLS; n++) {
    const running = home.spawn(["run", "--rm", "-q", busybox, "sleep", "1000"]);
    await sleep(randomInt(50, 1_500));
    running.child.kill("SIGKILL");
    ends.push(await running.ended);
    expect(await home.leftoverProcesses()).toEqual([]);
  }
  expect(ends.map(({ signal }) => signal)).toEqual(Array.from({ length: KILLS }, () => "SIGKILL"));
  const ended = await echo();
  expect(ended, ended.stderr).toMatchObject(ranWell);
  expect(await home.leftovers()).toEqual([]);
  expect(await list()).toMatchObject([{ key: info.key, createdAt: info.createdAt }]);
  expect(await readdir(templatesDir)).toEqual([info.key]);
});
