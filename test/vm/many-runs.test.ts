/**
 * Many starts, in a row and side by side: every exit code right, nothing left. `npm run test:long` makes it five hundred
 * and two hundred.
 */
import { readdirSync, renameSync } from "node:fs";
import { run } from "flamebox";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import { Home } from "../support/home.ts";
import { limit } from "../../src/util/limit.ts";

const runs = Number(process.env["FLAMEBOX_TEST_RUNS"] ?? 5);
const AT_ONCE = 8;
/** Twenty-five for each that runs at once, in the long run. */
const together = runs >= 500 ? 200 : AT_ONCE;
const inProcess = Math.ceil(runs / 5);
const busybox = `${inject("registry")}/flamebox/busybox:1`;
let home: Home;
beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

test(`${runs} runs in a row`, { timeout: 60_000 * runs }, async () => {
  const codes: (number | null)[] = [];
  let retries = 0;
  for (let i = 0; i < runs; i++) {
    const { code, stderr } = await home.run(["run", "--rm", busybox, "sh", "-c", `exit ${i % 200}`]);
    codes.push(code);
    // The watchdog's notice, a line for each start that had to be repeated.
    retries += stderr.split("\n").filter((line) => line.includes("starting the machine again")).length;
  }
  console.log(`${runs} runs, ${retries} starts repeated by the watchdog`);
  expect(codes).toEqual(Array.from({ length: runs }, (_, i) => i % 200));
  expect(await home.leftovers()).toEqual([]);
});

test(`${together} runs, ${AT_ONCE} at a time`, { timeout: 60_000 * together }, async () => {
  const limited = limit(AT_ONCE);
  const ended = await Promise.all(
    Array.from({ length: together }, async (_, i) =>
      limited(async () => await home.run(["run", "--rm", busybox, "sh", "-c", `exit ${i % 200}`])),
    ),
  );
  expect(ended.map(({ code }) => code)).toEqual(Array.from({ length: together }, (_, i) => i % 200));
  expect(ended.filter(({ stderr }) => stderr.includes("starting the machine again"))).toEqual([]);
  expect(await home.leftovers()).toEqual([]);
});

test(`${inProcess} starts in one process leave no descriptor open`, {
  timeout: 60_000 * inProcess,
}, async () => {
  const options = { paths: home.paths, dockerConfig: null, command: ["true"] };
  const open = (): number => readdirSync("/proc/self/fd").length;
  await run(busybox, options);
  const before = open();
  for (let i = 0; i < inProcess; i++) expect((await run(busybox, options)).code).toBe(0);
  expect(open()).toBeLessThanOrEqual(before);
});

test("a home that has been moved starts containers as before", async () => {
  await using first = await makeHome(inject("kernelDir"), { ownTemplates: true });
  expect((await first.run(["run", "--rm", busybox, "true"])).code).toBe(0);
  await using moved = new Home(`${first.dir}-moved`);
  renameSync(first.dir, moved.dir);
  const { code, stderr } = await moved.run(["run", "--rm", busybox, "sh", "-c", "exit 7"]);
  expect(code).toBe(7);
  expect(stderr).not.toMatch(/preparing a machine|template/);
  expect(await moved.leftovers()).toEqual([]);
});
