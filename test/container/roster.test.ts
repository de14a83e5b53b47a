/** Containers by name and id; records and states that are damaged; who may run one. */
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { claimContainer, healContainer, isOwned, whileIdle } from "../../src/container/lifecycle/heal.ts";
import {
  Backoff,
  codeOfFailure,
  isToRestart,
  isToStartAfterBoot,
} from "../../src/container/lifecycle/policy.ts";
import { KeptState } from "../../src/container/lifecycle/kept-state.ts";
import { randomName } from "../../src/container/lifecycle/random-name.ts";
import { diskUse } from "../../src/container/lifecycle/info.ts";
import { DEFAULT_LOG, NO_RESTART, parseRecord, readRecord } from "../../src/container/lifecycle/record.ts";
import type { ContainerRecord } from "../../src/container/lifecycle/record.ts";
import {
  addContainer,
  checkName,
  containerIds,
  findContainer,
  removeContainerFiles,
  renameContainer,
} from "../../src/container/lifecycle/roster.ts";
import type { Draft } from "../../src/container/lifecycle/roster.ts";
import { CREATED, parseState, readState, writeState } from "../../src/container/lifecycle/state.ts";
import { containersToStart, stopContainer } from "../../src/container/lifecycle/verbs.ts";
import { removeOwner } from "../../src/container/workspace.ts";
import { openStore } from "../../src/store/store.ts";
import { FlameBoxError } from "../../src/util/error.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "flamebox-roster-"));
  mkdirSync(join(dir, "data", "locks"), { recursive: true });
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const paths = () => ({ dataDir: join(dir, "data"), runtimeDir: join(dir, "run") });
const folderOf = (id: string) => join(dir, "data", "containers", id);

function draft(name: string | undefined, id: string): Draft {
  return {
    id,
    name,
    imageName: "busybox",
    image: { reference: "docker.io/library/busybox:latest", configDigest: "sha256:0", diffIds: [] } as never,
    createdAt: "2026-11-29T00:00:00.000Z",
    options: {},
    args: ["sh"],
    labels: {},
    restart: NO_RESTART,
    log: DEFAULT_LOG,
    autoRemove: false,
  };
}

const idOf = (digit: string) => digit.repeat(64);
const add = async (name: string | undefined, digit: string): Promise<ContainerRecord> =>
  await addContainer(paths(), draft(name, idOf(digit)));

describe("names", () => {
  test.each(["a", "-a", "a b", "a/b", "../a", "", "a\n", "ü1", "a".repeat(129)])("%j is none", (name) => {
    expect(() => checkName(name)).toThrow(FlameBoxError);
  });

  test("are made up in the same form", () => {
    for (let i = 0; i < 200; i++) expect(() => checkName(randomName(i % 5))).not.toThrow();
  });

  test("belong to one container at a time, whoever is quicker", async () => {
    const results = await Promise.allSettled(
      ["a", "b", "c", "d"].map(async (digit) => await add("web", digit)),
    );
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    const codes = results.flatMap((result) =>
      result.status === "rejected" ? [(result.reason as FlameBoxError).code] : [],
    );
    expect(codes).toEqual(["name-taken", "name-taken", "name-taken"]);
    expect(await containerIds(paths())).toHaveLength(1);
    expect(readdirSync(join(dir, "data", "containers"))).toHaveLength(1);
  });

  test("of a container that is gone are free, and so is one that leads nowhere", async () => {
    const record = await add("web", "a");
    rmSync(folderOf(record.id), { recursive: true });
    expect(await add("web", "b")).toMatchObject({ name: "web" });
    symlinkSync("not an id", join(dir, "data", "names", "odd"));
    expect(await add("odd", "c")).toMatchObject({ name: "odd" });
  });

  test("are given back when they are changed or their container is removed", async () => {
    const record = await add("old", "a");
    const renamed = await renameContainer(paths(), record, "new");
    await expect(findContainer(paths(), "old")).rejects.toMatchObject({ code: "container-not-found" });
    expect(await findContainer(paths(), "new")).toMatchObject({ id: record.id, name: "new" });
    expect(await add("old", "b")).toMatchObject({ name: "old" });
    await expect(renameContainer(paths(), renamed, "old")).rejects.toMatchObject({ code: "name-taken" });
    await removeContainerFiles(paths(), renamed);
    expect(existsSync(folderOf(record.id))).toBe(false);
    expect(await add("new", "c")).toMatchObject({ name: "new" });
  });
});

describe("finding", () => {
  test("by name, id, and the beginning of one", async () => {
    const { id } = await add("web", "a");
    await addContainer(paths(), draft("db", `aab${"0".repeat(61)}`));
    for (const text of ["web", id, "aaaa"]) expect(await findContainer(paths(), text)).toMatchObject({ id });
    await expect(findContainer(paths(), "aa")).rejects.toMatchObject({ code: "ambiguous-container-id" });
    for (const text of ["weeb", "wbe", "ewb"])
      await expect(findContainer(paths(), text)).rejects.toMatchObject({
        hint: "did you mean web? See flamebox ps -a",
      });
    for (const text of ["", "../x", "f", "/", "a b"])
      await expect(findContainer(paths(), text)).rejects.toMatchObject({ code: "container-not-found" });
  });

  test("a name that looks like an id goes before it", async () => {
    await add("web", "a");
    const named = await add("aaaa", "b");
    expect(await findContainer(paths(), "aaaa")).toMatchObject({ id: named.id });
  });

  test("one whose record is damaged says so", async () => {
    const { id } = await add("web", "a");
    for (const text of ["", "{", "null", "[]", JSON.stringify({ version: 1, id: idOf("b") })]) {
      writeFileSync(join(folderOf(id), "container.json"), text);
      await expect(readRecord(paths(), id)).rejects.toMatchObject({ code: "container-damaged" });
    }
  });
});

describe("owners", () => {
  test("are one at a time; a dead one is put right", async () => {
    const record = await add("web", "a");
    await claimContainer(paths(), record);
    expect(await isOwned(paths(), record.id)).toBe(true);
    await expect(claimContainer(paths(), record)).rejects.toMatchObject({ code: "container-running" });
    await expect(whileIdle(paths(), record, async () => {})).rejects.toMatchObject({
      code: "container-running",
    });
    await writeState(folderOf(record.id), { ...CREATED, status: "running" });
    // As of another boot.
    const owner = { pid: process.pid, startTicks: 1, bootId: "another" };
    writeFileSync(join(folderOf(record.id), "owner.json"), JSON.stringify({ owner }));
    await Promise.all([1, 2, 3].map(async () => await healContainer(paths(), record.id)));
    expect(await readState(paths(), record.id)).toMatchObject({ status: "exited", exitCode: 137 });
    expect(await isOwned(paths(), record.id)).toBe(false);
    expect(await whileIdle(paths(), record, async () => "free")).toBe("free");
  });

  test("who is done leaves the state as it is", async () => {
    const record = await add("web", "a");
    await claimContainer(paths(), record);
    await writeState(folderOf(record.id), { ...CREATED, status: "exited", exitCode: 3 });
    await removeOwner(folderOf(record.id));
    await healContainer(paths(), record.id);
    expect(await readState(paths(), record.id)).toMatchObject({ status: "exited", exitCode: 3 });
  });
});

describe("a state that its owner keeps", () => {
  test("has the last warnings, each once, and is written in order", async () => {
    const { id } = await add("web", "a");
    const told: string[] = [];
    const state = new KeptState(folderOf(id), CREATED, (notice) => told.push(notice));
    await Promise.all([
      state.update({ status: "running" }),
      ...Array.from(
        { length: 12 },
        async (_, i) => await state.warn(`warning ${i % 10} ${"x".repeat(2_000)}`),
      ),
      state.update({ status: "exited", exitCode: 3 }),
    ]);
    const read = await readState(paths(), id);
    expect(read).toMatchObject({ status: "exited", exitCode: 3 });
    expect(read.warnings?.map(({ message }) => message.slice(0, 10))).toEqual(
      [4, 5, 6, 7, 8, 9, 0, 1].map((number) => `warning ${number} `),
    );
    for (const { message } of read.warnings ?? []) expect(message).toHaveLength(1_024);
    expect(told).toHaveLength(12);
  });

  test("that cannot be written is told once, and in the next that can be", async () => {
    const { id } = await add("web", "a");
    const told: string[] = [];
    const state = new KeptState(folderOf(id), CREATED, (notice) => told.push(notice));
    mkdirSync(join(folderOf(id), "state.json"));
    await state.update({ status: "running" });
    await state.warn("the log ends here");
    rmSync(join(folderOf(id), "state.json"), { recursive: true });
    await state.update({ status: "exited" });
    expect(told).toHaveLength(2);
    expect((await readState(paths(), id)).warnings?.map(({ message }) => message)).toEqual(told);
  });
});

test.each(["", "{", "[]", "7", '{"version":2}', '{"version":1,"status":"dancing","restartCount":0}'])(
  "the state %j is that of a container that has ended, nobody knows how",
  (text) => {
    expect(parseState(text)).toMatchObject({ status: "exited", exitCode: 137 });
  },
);

test("records and states of any text are read or not, and never throw (seeded)", () => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.json().map((inner) => `{"version":1,"status":${inner}}`),
  );
  fc.assert(
    fc.property(text, (given) => {
      parseRecord(given);
      expect(parseState(given).version).toBe(1);
    }),
    { seed: 5, numRuns: 2_000 },
  );
});

test.each([
  ["no", 0, 1, 0, false],
  ["always", 0, 0, 99, true],
  ["unless-stopped", 0, 0, 99, true],
  ["on-failure", 0, 0, 0, false],
  ["on-failure", 0, 1, 99, true],
  ["on-failure", 3, 1, 2, true],
  ["on-failure", 3, 1, 3, false],
] as const)(
  "the policy %s:%i after exit code %i and %i restarts: %s",
  (name, maximumRetryCount, code, count, again) => {
    expect(isToRestart({ name, maximumRetryCount }, { code }, count)).toBe(again);
  },
);

test.each([
  ["no", 1, undefined, false],
  ["always", 0, undefined, true],
  ["always", 0, true, true],
  ["unless-stopped", 0, undefined, true],
  ["unless-stopped", 137, true, false],
  ["on-failure", 0, undefined, false],
  ["on-failure", 137, undefined, true],
  ["on-failure", undefined, undefined, true],
  ["on-failure", 143, true, false],
] as const)("after a boot the policy %s, exit code %s, stopped %s: %s", (name, exitCode, stopped, starts) => {
  const state = {
    ...CREATED,
    status: "exited",
    startedAt: "2026-11-29T00:00:00.000Z",
    exitCode,
    stopped,
  } as const;
  const policy = { name, maximumRetryCount: 0 };
  expect(isToStartAfterBoot(policy, state)).toBe(starts);
  expect(isToStartAfterBoot(policy, { ...state, startedAt: undefined })).toBe(false);
});

test("after a boot those are to start that a policy wants and nobody runs; a stop by then is remembered", async () => {
  await (await openStore(paths()))[Symbol.asyncDispose]();
  const ran = { ...CREATED, status: "running", startedAt: "2026-11-29T00:00:00.000Z" } as const;
  const owner = (bootId: string) => JSON.stringify({ owner: { pid: process.pid, startTicks: 1, bootId } });
  const containers = [
    ["web", "a", "unless-stopped"],
    ["db", "b", "always"],
    ["job", "c", "no"],
    ["batch", "d", "on-failure"],
  ] as const;
  for (const [name, digit, policy] of containers) {
    const restart = { name: policy, maximumRetryCount: 0 };
    const createdAt = `2026-11-2${digit === "b" ? 1 : 2}T00:00:00.000Z`;
    const { id } = await addContainer(paths(), { ...draft(name, idOf(digit)), restart, createdAt });
    await writeState(folderOf(id), ran);
    // Its process went with the boot before this one.
    writeFileSync(join(folderOf(id), "owner.json"), owner("another"));
  }
  const names = async () => (await containersToStart({ paths: paths() })).map(({ name }) => name);
  expect((await names())[0]).toBe("db");
  expect((await names()).toSorted()).toEqual(["batch", "db", "web"]);
  await Promise.all(containers.map(async ([name]) => await stopContainer(name, { paths: paths() })));
  expect(await names()).toEqual(["db"]);
  await claimContainer(paths(), await findContainer(paths(), "db"));
  expect(await names()).toEqual([]);
});

test("restarts wait longer and longer, up to a minute, and begin anew after a while of running", () => {
  const backoff = new Backoff();
  expect([0, 0, 0].map((ran) => backoff.nextMs(ran))).toEqual([100, 200, 400]);
  for (let i = 0; i < 20; i++) backoff.nextMs(0);
  expect(backoff.nextMs(0)).toBe(60_000);
  expect(backoff.nextMs(11_000)).toBe(100);
});

test.each([
  ["command-not-found", 127],
  ["command-not-executable", 126],
  ["machine-lost", 128],
])("a start that fails with %s has exit code %i", (code, exitCode) => {
  expect(codeOfFailure(new FlameBoxError(code, "x"))).toBe(exitCode);
});

test("what a container takes on disk is its own disk, whatever names that has, and not its template's", async () => {
  const { id } = await add("web", "a");
  const before = await diskUse(folderOf(id));
  const bytes = Buffer.alloc(256 << 10, 1);
  writeFileSync(join(dir, "template.ext4"), bytes);
  linkSync(join(dir, "template.ext4"), join(folderOf(id), "backing.ext4"));
  expect(await diskUse(folderOf(id))).toBe(before);
  writeFileSync(join(folderOf(id), "scratch.ext4"), bytes);
  linkSync(join(folderOf(id), "scratch.ext4"), join(dir, "jailed.ext4"));
  expect((await diskUse(folderOf(id))) - before).toBe(bytes.length);
  // A template that is gone has left its disk to those that use it.
  rmSync(join(dir, "template.ext4"));
  expect((await diskUse(folderOf(id))) - before).toBe(2 * bytes.length);
});
