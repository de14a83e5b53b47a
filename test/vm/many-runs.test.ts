/** Many runs in a row: every exit code right, nothing left. `npm run test:long` makes it fifty. */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const runs = Number(process.env["FLAMEBOX_TEST_RUNS"] ?? 10);
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
    const { code, stderr } = await home.run(["run", busybox, "sh", "-c", `exit ${i % 200}`]);
    codes.push(code);
    // The watchdog's notice, a line for each start that had to be repeated.
    retries += stderr.split("\n").filter((line) => line.includes("starting the machine again")).length;
  }
  console.log(`${runs} runs, ${retries} starts repeated by the watchdog`);
  expect(codes).toEqual(Array.from({ length: runs }, (_, i) => i % 200));
  expect(await home.leftovers()).toEqual([]);
});
