/** `container …`, and what `system` says of containers, as it is typed, with the real library on a home of its own. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { execute } from "../../src/cli/execute.ts";
import { createProgram } from "../../src/cli/program.ts";
import { DEFAULT_LOG, NO_RESTART } from "../../src/container/lifecycle/record.ts";
import { addContainer } from "../../src/container/lifecycle/roster.ts";
import type { Draft } from "../../src/container/lifecycle/roster.ts";
import { CREATED, writeState } from "../../src/container/lifecycle/state.ts";
import type { Status } from "../../src/container/lifecycle/state.ts";
import { claimContainer } from "../../src/container/lifecycle/heal.ts";
import * as library from "../../src/index.ts";
import { fakeContext } from "./fake-context.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "flamebox-group-"));
  mkdirSync(join(home, "data", "locks"), { recursive: true });
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const paths = () => ({ dataDir: join(home, "data"), runtimeDir: join(home, "run") });
const folderOf = (id: string) => join(home, "data", "containers", id);
const IMAGE = {
  reference: "docker.io/library/busybox:latest",
  configDigest: "sha256:0",
  diffIds: [],
  platform: { os: "linux", architecture: "amd64" },
};
const DISK_BYTES = 64 << 10;

async function made(
  name: string,
  status: Status,
  given: Partial<Pick<Draft, "createdAt" | "labels">> = {},
): Promise<string> {
  const id = Buffer.from(name).toString("hex").padEnd(64, "0");
  const record = await addContainer(paths(), {
    id,
    name,
    imageName: "busybox",
    image: IMAGE as never,
    createdAt: "2026-01-01T00:00:00.000Z",
    options: {},
    args: ["sh"],
    labels: {},
    restart: NO_RESTART,
    log: DEFAULT_LOG,
    autoRemove: false,
    ...given,
  });
  const dir = folderOf(id);
  writeFileSync(join(dir, "disk"), Buffer.alloc(DISK_BYTES, 1));
  const finishedAt = "2026-01-01T00:01:00.000Z";
  // Of one that runs, this process is the owner.
  if (status === "running") await claimContainer(paths(), record);
  if (status !== "created")
    await writeState(dir, { ...CREATED, status, ...(status === "exited" && { finishedAt, exitCode: 3 }) });
  return id;
}

async function flamebox(words: readonly string[], answer?: string) {
  const base = fakeContext({ env: { FLAMEBOX_HOME: home } });
  const stdin = Object.assign(new PassThrough(), { isTTY: answer !== undefined });
  stdin.end(answer === undefined ? "" : `${answer}\n`);
  const exitCode = await execute(words, { ...base, stdin, loadLibrary: async () => library });
  return { exitCode, out: base.stdout.text, err: base.stderr.text };
}

describe("container prune", () => {
  it("asks, and removes those that do not run, in Docker's words", async () => {
    const ended = await made("ended", "exited");
    const never = await made("never", "created");
    const running = await made("running", "running");
    const unasked = await flamebox(["container", "prune"]);
    expect([unasked.exitCode, unasked.err]).toEqual([1, expect.stringContaining("--force")]);
    const no = await flamebox(["container", "prune"], "n");
    expect([no.exitCode, no.err]).toEqual([1, expect.stringContaining("every container that does not run")]);
    expect(existsSync(folderOf(ended))).toBe(true);
    const yes = await flamebox(["container", "prune"], "y");
    expect(yes.exitCode).toBe(0);
    const [heading, ...rest] = yes.out.split("\n");
    expect([heading, rest.slice(0, 2).toSorted()]).toEqual([
      "Deleted Containers:",
      [ended, never].toSorted(),
    ]);
    expect(rest.slice(2)).toEqual(["", expect.stringMatching(/^Total reclaimed space: 1\d\dkB$/), ""]);
    expect([ended, never, running].map((id) => existsSync(folderOf(id)))).toEqual([false, false, true]);
    // Their names are free.
    await made("ended", "exited");
    expect((await flamebox(["container", "ls", "-a", "--format", "{{.Names}}"])).out).toBe(
      "running\nended\n",
    );
  });

  it.each<[string, string[], string[]]>([
    ["a label", ["label=tier"], ["new"]],
    ["a label's value", ["label=tier=db"], []],
    ["no such label", ["label!=tier"], ["old"]],
    ["the time it was made", ["until=24h"], ["old"]],
    ["both", ["until=24h", "label=tier"], []],
  ])("takes those with %s", async (_, filters, names) => {
    await made("old", "exited");
    const labels = { tier: "web" };
    await made("new", "exited", { createdAt: new Date(Date.now() - 60_000).toISOString(), labels });
    const words = filters.flatMap((filter) => ["--filter", filter]);
    const { out, exitCode } = await flamebox(["container", "prune", "-f", "--json", ...words]);
    const ids = names.map((name) => Buffer.from(name).toString("hex").padEnd(64, "0"));
    expect([exitCode, JSON.parse(out)]).toMatchObject([0, { deleted: ids }]);
  });

  it.each(["status=exited", "until", "until=soon", "label!"])("refuses the filter %s", async (filter) => {
    const id = await made("old", "exited");
    const { exitCode, err } = await flamebox(["container", "prune", "-f", "--filter", filter]);
    expect([exitCode, err]).toEqual([1, expect.stringContaining(`filter "${filter}"`)]);
    expect(existsSync(folderOf(id))).toBe(true);
  });

  it("says only ids with -q, and nothing where there is nothing", async () => {
    const id = await made("old", "exited");
    expect((await flamebox(["container", "prune", "-qf"])).out).toBe(`${id}\n`);
    expect((await flamebox(["container", "prune", "-f"])).out).toBe("Total reclaimed space: 0B\n");
  });

  it("waits for what is about to be started", async () => {
    const id = await made("fresh", "created", { createdAt: new Date().toISOString() });
    const pruned = library.pruneContainers({ paths: paths() });
    const record = { id, name: "fresh" } as Parameters<typeof claimContainer>[1];
    await claimContainer(paths(), record);
    expect(await pruned).toEqual({ deleted: [], reclaimedBytes: 0 });
    expect(existsSync(folderOf(id))).toBe(true);
  });
});

describe("system", () => {
  it("df has a row for containers", async () => {
    await made("ended", "exited");
    await made("running", "running");
    const { out } = await flamebox(["system", "df", "--json"]);
    const row = (JSON.parse(out) as { type: string; sizeBytes: number; reclaimableBytes: number }[])[1];
    expect(row).toMatchObject({ type: "Containers", totalCount: 2, active: 1 });
    expect(row?.sizeBytes).toBeGreaterThanOrEqual(2 * DISK_BYTES);
    expect(row?.reclaimableBytes).toBeGreaterThanOrEqual(DISK_BYTES);
    expect(row?.reclaimableBytes).toBeLessThan(row?.sizeBytes ?? 0);
    expect((await flamebox(["system", "df"])).out).toMatch(/\nContainers +2 +1 +\S+ +\S+ \(\d\d%\)\n/);
  });

  it("prune takes containers and networks with it, and says so when it asks", async () => {
    const ended = await made("ended", "exited");
    const running = await made("running", "running");
    await library.createNetwork("shop", { paths: paths() });
    const no = await flamebox(["system", "prune"], "n");
    expect(no.err).toContain("containers that do not run, networks that nobody is in");
    expect(existsSync(folderOf(ended))).toBe(true);
    const { out } = await flamebox(["system", "prune", "-f"]);
    expect(out).toContain(`Deleted Containers:\n${ended}\n\nDeleted Networks:\nshop\n\n`);
    expect(out).toMatch(/Total reclaimed space: [1-9]/);
    expect([existsSync(folderOf(ended)), existsSync(folderOf(running))]).toEqual([false, true]);
  });
});

describe("the group", () => {
  it("has Docker's commands, each with what its short name has", async () => {
    const program = createProgram(fakeContext());
    await program.loadAll();
    const group = program.root.commands.find((command) => command.name() === "container");
    const names = (group?.commands ?? []).map((command) => command.name());
    const docker =
      "attach commit cp create diff exec export inspect kill logs ls pause port prune rename restart rm run start stats stop top unpause update wait";
    expect(names.toSorted()).toEqual(docker.split(" "));
    for (const inner of group?.commands ?? []) {
      const twin = program.root.commands.find(
        (command) => command.name() === inner.name().replace(/^ls$/, "ps"),
      );
      if (inner.name() === "prune") continue;
      // Below `container` there is nothing else to inspect.
      const flags = twin?.options.map((option) => option.flags).filter((text) => text !== "--type <type>");
      expect(inner.options.map((option) => option.flags)).toEqual(flags);
    }
  });

  it.each<[string, string[], number, string]>([
    ["run ends as run", ["run", "--bogus", "x"], 125, "see 'flamebox container run --help'"],
    ["run refuses as run", ["run", "--gpus", "all", "x"], 125, "--gpus is not supported"],
    ["exec fails as exec", ["exec", "nobody", "sh", "-c", "ls -l"], 1, "there is no container"],
    ["inspect knows no images", ["inspect", "busybox"], 1, 'there is no container "busybox"'],
    ["a command that is not there", ["prunes"], 1, "did you mean prune?"],
  ])("%s", async (_, words, exitCode, said) => {
    const ended = await flamebox(["container", ...words]);
    expect([ended.exitCode, ended.err]).toEqual([exitCode, expect.stringContaining(said)]);
  });

  it("leaves what is behind the image to the container", async () => {
    const { err } = await flamebox([
      "container",
      "run",
      "--pull",
      "never",
      "nothing:1",
      "ls",
      "--json",
      "-q",
    ]);
    expect(err).toMatch(/^flamebox: .*nothing/);
  });

  it("rm, rename, ls and inspect do what they do", async () => {
    const id = await made("ended", "exited");
    expect((await flamebox(["container", "ls"])).out).not.toContain("ended");
    expect((await flamebox(["container", "ls", "-aq"])).out).toBe(`${id.slice(0, 12)}\n`);
    expect((await flamebox(["container", "rename", "ended", "old"])).exitCode).toBe(0);
    expect((await flamebox(["container", "inspect", "-f", "{{.Name}} {{.State.ExitCode}}", "old"])).out).toBe(
      "old 3\n",
    );
    expect((await flamebox(["container", "rm", "old"])).out).toBe("old\n");
  });
});
