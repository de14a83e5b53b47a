/** Hostile documents, as a table: manifests, configs and indexes of a registry on loopback. `tables/` has the rows. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fileLine, sha256 } from "./row.ts";
import { made, startServing, TYPES } from "./served.ts";
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

/**
 * Honest digests make no loop: somewhere a name has to be a lie. A leads to B, and B to what the registry says is A.
 * `as` is what each calls the next.
 */
test.each([
  { as: TYPES.index, code: "platform-not-found" },
  { as: TYPES.dockerList, code: "platform-not-found" },
  { as: TYPES.manifest, code: "invalid-manifest" },
])("indexes that lead to each other, called $as", async ({ as, code }) => {
  const claimed = `sha256:${"a".repeat(64)}`;
  const platform = { os: "linux", architecture: "amd64" };
  const leadingTo = (digest: string, size: number) =>
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: TYPES.index,
        manifests: [{ mediaType: as, digest, size, platform }],
      }),
    );
  // Names are of one length, so A is as large as B.
  const sizeBytes = leadingTo(claimed, 100).length;
  const b = leadingTo(claimed, sizeBytes);
  const a = leadingTo(sha256(b), b.length);
  const contents = new Map([
    [sha256(b), b],
    [claimed, a],
  ]);
  const before = registry.requests.length;
  const verdict = await registry.judge({ top: a, contentType: TYPES.index, contents });
  expect(verdict).toMatchObject({ code });
  const asked = registry.requests.slice(before).filter(({ line }) => line.includes("/manifests/"));
  expect(asked.length).toBeLessThanOrEqual(2);
});
