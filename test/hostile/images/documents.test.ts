/** Hostile documents, as a table: manifests, configs and indexes of a registry on loopback. `tables/` has the rows. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fileLine } from "./row.ts";
import { made, startServing } from "./served.ts";
import { inPlace } from "./suite.ts";
import { configs, indexes } from "./tables/configs.ts";
import { innocent, manifests } from "./tables/manifests.ts";

inPlace();
const tree = [fileLine("f", "data")];
let registry: Awaited<ReturnType<typeof startServing>>;
beforeAll(async () => {
  registry = await startServing();
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

describe.each(Object.entries({ manifests, configs, indexes }))("%s", (_, rows) => {
  test.each(rows)("$name", async ({ hostile, code }) => {
    expect(await registry.judge(made(hostile))).toMatchObject({ code });
  });
  test.each(rows)("benign: $name", async ({ twin }) => {
    expect(await registry.judge(made(twin))).toEqual({ tree });
  });
});

test.each(innocent)("harmless: $name", async ({ made: what, isEmpty }) => {
  expect(await registry.judge(made(what))).toEqual({ tree: isEmpty ? [] : tree });
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});
