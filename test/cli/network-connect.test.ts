/** `network connect` and `disconnect`: what they make of a container's record, and what they refuse. On real records. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { execute } from "../../src/cli/execute.ts";
import { claimContainer } from "../../src/container/lifecycle/heal.ts";
import { DEFAULT_LOG, NO_RESTART, optionsToStart, readRecord } from "../../src/container/lifecycle/record.ts";
import type { ContainerRecord, KeptOptions } from "../../src/container/lifecycle/record.ts";
import { addContainer } from "../../src/container/lifecycle/roster.ts";
import * as library from "../../src/index.ts";
import { fakeContext } from "./fake-context.ts";

const PORT = { hostPort: 8080, containerPort: 80, protocol: "tcp" } as const;
const ID = "1".repeat(64);

let home: string;
const paths = () => ({ dataDir: join(home, "data"), runtimeDir: join(home, "run") });

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "flamebox-connect-"));
  mkdirSync(join(home, "data", "locks"), { recursive: true });
  await library.createNetwork("shop", { paths: paths(), subnet: "10.87.1.0/24" });
  await library.createNetwork("other", { paths: paths() });
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

async function add(options: KeptOptions = {}): Promise<ContainerRecord> {
  const image = {
    reference: "app:1",
    configDigest: `sha256:${"a".repeat(64)}`,
    diffIds: [],
    platform: { os: "linux", architecture: "amd64" },
  } as unknown as ContainerRecord["image"];
  const common = { args: ["/x"], labels: {}, restart: NO_RESTART, log: DEFAULT_LOG, autoRemove: false };
  const createdAt = "2026-01-01T00:00:00.000Z";
  return await addContainer(paths(), {
    ...common,
    id: ID,
    name: "web",
    imageName: "app:1",
    image,
    createdAt,
    options,
  });
}

async function network(...words: string[]) {
  const context = { ...fakeContext({ env: { FLAMEBOX_HOME: home } }), loadLibrary: async () => library };
  const code = await execute(["network", ...words], context);
  return { code, out: context.stdout.text, err: context.stderr.text };
}

async function kept(): Promise<ContainerRecord> {
  const record = await readRecord(paths(), ID);
  if (record === undefined) throw new Error("it has gone");
  return record;
}

it("puts a container into a network, takes it out, and gives it what it had", async () => {
  await add({ publish: [PORT], macAddress: "02:00:00:00:00:01" });
  const said = await network("connect", "--alias", "store", "--ip", "10.87.1.5", "shop", "web");
  expect(said).toEqual({ code: 0, out: "", err: "" });
  expect((await kept()).options).toMatchObject({
    network: "shop",
    networkAliases: ["store"],
    ipAddress: "10.87.1.5",
    publish: [PORT],
  });
  expect(await network("disconnect", "shop", "111")).toEqual({ code: 0, out: "", err: "" });
  const without = await kept();
  expect(without.options).toMatchObject({ network: "none", publish: [PORT] });
  // A start without a network can have neither.
  expect(optionsToStart(without)).toEqual({ network: "none" });
  expect((await network("connect", "bridge", "web")).code).toBe(0);
  expect(optionsToStart(await kept())).toMatchObject({ network: "user", publish: [PORT] });
  expect(JSON.parse((await network("disconnect", "--json", "bridge", "web")).out)).toMatchObject({
    name: "web",
    network: "none",
  });
});

it.each<[KeptOptions, string[], string]>([
  [{}, ["connect", "shpo", "web"], "did you mean shop?"],
  [{}, ["connect", "shop", "wed"], "did you mean web?"],
  [{}, ["connect", "shop"], "missing required argument"],
  [{}, ["connect", "none", "web"], "flamebox network disconnect"],
  [{}, ["connect", "host", "web"], "has a meaning of its own"],
  [{}, ["connect", "bridge", "web"], "is in the network user"],
  [{}, ["connect", "--ip", "10.88.0.1", "shop", "web"], "10.88.0.1 is no address"],
  [{}, ["connect", "--alias", "a b", "shop", "web"], "is not a name for a container"],
  [{}, ["connect", "--ip", "10.0.2.20", "bridge", "web"], "is in the network user"],
  [{ network: "other" }, ["connect", "shop", "web"], "flamebox network disconnect other web"],
  [{ network: "shop" }, ["connect", "shop", "web"], "it needs nothing more than to be started"],
  [{ network: "none" }, ["connect", "--alias", "x", "bridge", "web"], "only in a network with a name"],
  [{ network: "other" }, ["disconnect", "shop", "web"], "it is in other"],
  [{ network: "none" }, ["disconnect", "none", "web"], "it is in none"],
  [{}, ["conect", "shop", "web"], "connect"],
])("of %j, %j is refused", async (options, words, hint) => {
  const before = await add(options);
  const { code, err } = await network(...words);
  expect([code, err]).toEqual([1, expect.stringContaining(hint)]);
  expect(await kept()).toEqual({ ...before, version: 1 });
});

it("leaves alone what runs, and says what to do", async () => {
  const record = await add();
  await claimContainer(paths(), record);
  for (const words of [
    ["connect", "shop", "web"],
    ["disconnect", "bridge", "web"],
  ]) {
    const { code, err } = await network(...words);
    expect([code, err]).toEqual([1, expect.stringContaining("flamebox stop web")]);
  }
  expect((await kept()).options).toEqual({});
});
