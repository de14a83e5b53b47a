/**
 * What containers of one template have in common, and what they must not, on every VMM. Run by a test file a driver, with
 * a way to start containers of an image that has busybox.
 */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { beforeAll, describe, expect, test } from "vitest";
import type { ContainerOptions, RunningContainer } from "../../src/container/options.ts";
import { CleanupStack } from "../../src/util/cleanup.ts";
import { limit } from "../../src/util/limit.ts";
import { checksumOf } from "../support/checksum.ts";
import { behindEach, makeMarks, vmmsOfThisProcess } from "./marks.ts";

/** FLAMEBOX_TEST_CLONES: where they have been shown to another user already. */
const CLONES = Number(process.env["FLAMEBOX_TEST_CLONES"] ?? 32);
/** So many live side by side; an emulated host has no memory for all. */
const AT_ONCE = 8;
const STARTING = 2;
const MAX_CLOCK_ERROR_MS = 50;
const CLOCK_LOOKS = 4;
const MEMORY_MIB = 64;
/** Another template's. */
const OTHER_MEMORY_MIB = 72;
const PATIENCE_MS = 900_000;

const FACTS = {
  random: "od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n'",
  uuid: "cat /proc/sys/kernel/random/uuid",
  "boot id": "cat /proc/sys/kernel/random/boot_id",
  hostname: "hostname",
  mac: "cat /sys/class/net/eth0/address",
  stack: "grep '\\[stack\\]' /proc/self/maps",
} as const;

/** Says its facts, has its mark all over its memory, tells the time when it is asked, and in the end what it has seen. */
const SCRIPT = [
  ...Object.entries(FACTS).map(([name, command]) => `echo "${name}: $(${command})"`),
  'i=0; while [ $i -lt 3000 ]; do echo "$0"; i=$((i + 1)); done >/dev/shm/mark',
  "echo ready",
  // The time of a new file is the kernel's clock at its last tick.
  "while read -r line; do : >/tmp/$line; stat -c %y /tmp/$line; done",
  "ls /dev/shm; sort -u /dev/shm/mark",
].join("\n");

export interface CloneSetting {
  /** Starts a container of the busybox image. */
  readonly start: (options: ContainerOptions) => Promise<RunningContainer>;
  /** Of the same home. */
  readonly templatesDir: string;
}

async function checksumsOf(templatesDir: string): Promise<Record<string, number>> {
  const checksums: Record<string, number> = {};
  for (const path of await savedFiles(templatesDir)) checksums[path] = await checksumOf(path);
  return checksums;
}

/** All that is saved of machines. */
async function savedFiles(templatesDir: string): Promise<string[]> {
  const entries = await readdir(templatesDir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && ["ram", "state"].includes(entry.name));
  return files.map((entry) => join(entry.parentPath, entry.name)).sort();
}

/** A container that was booted after all would differ from others by itself. */
async function startRestored({ start }: CloneSetting, options: ContainerOptions): Promise<RunningContainer> {
  const notices: string[] = [];
  const container = await start({ ...options, onNotice: (notice) => notices.push(notice) });
  const complaints = notices.filter((notice) => notice.includes("template"));
  if (complaints.length === 0) return container;
  await container[Symbol.asyncDispose]();
  throw new Error(complaints.join("; "));
}

interface Clone {
  readonly container: RunningContainer;
  readonly next: () => Promise<string>;
  readonly facts: ReadonlyMap<string, string>;
}

async function startClone(setting: CloneSetting, mark: string): Promise<Clone> {
  const container = await startRestored(setting, {
    memoryMib: MEMORY_MIB,
    command: ["sh", "-c", SCRIPT, mark],
    interactive: true,
  });
  container.stderr.resume();
  const lines = createInterface({ input: container.stdout })[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value ?? "";
  const facts = new Map<string, string>();
  for (let line = await next(); line !== "ready" && line !== ""; line = await next()) {
    const [name = "", value = ""] = line.split(/: (.*)/s);
    facts.set(name, value);
  }
  return { container, next, facts };
}

/**
 * How far a container's clock is off, by what this host's said before it was asked and after it had answered. The least
 * of several: a busy host lets the guest's ticks wait, and a clock that is wrong is so each time.
 */
async function clockErrorMs(clone: Clone): Promise<number> {
  const errors: number[] = [];
  for (let n = 0; n < CLOCK_LOOKS; n++) errors.push(await clockErrorOnceMs(clone, `look${n}`));
  return Math.min(...errors);
}

async function clockErrorOnceMs({ container, next }: Clone, file: string): Promise<number> {
  const sentMs = Date.now();
  container.stdin?.write(`${file}\n`);
  const said = await next();
  const receivedMs = Date.now();
  const [, date = "", seconds = "", fraction = ""] = /^(\S+) (\S+)(\.\d+)/.exec(said) ?? [];
  const guestMs = Date.parse(`${date}T${seconds}Z`) + Number(fraction) * 1000;
  return Math.max(0, sentMs - guestMs, guestMs - receivedMs);
}

export function clonesContract(name: string, setUp: () => Promise<CloneSetting>): void {
  describe(`${CLONES} containers of one template in ${name}`, () => {
    const marks = makeMarks();
    const labels = Array.from({ length: CLONES }, (_, n) => `clone${n}`);
    const facts = new Map<string, string[]>();
    const clockErrors: number[] = [];
    /** What each guest's memory has of all marks. */
    const inMemory: string[] = [];
    const lastWords: string[] = [];
    let setting: CloneSetting;
    let before: Record<string, number>;

    const liveTogether = async (wave: readonly string[]): Promise<void> => {
      await using cleanup = new CleanupStack();
      const limited = limit(STARTING);
      const started = await Promise.allSettled(
        wave.map(async (label) => await limited(async () => await startClone(setting, marks.of(label)))),
      );
      for (const result of started) if (result.status === "fulfilled") cleanup.use(result.value.container);
      const clones = started.map((result) => {
        if (result.status === "rejected") throw result.reason;
        return result.value;
      });
      for (const clone of clones) {
        for (const [fact, value] of clone.facts) facts.set(fact, [...(facts.get(fact) ?? []), value]);
        clockErrors.push(await clockErrorMs(clone));
      }
      for (const pid of await vmmsOfThisProcess()) inMemory.push([...(await marks.inGuestOf(pid))].join(" "));
      for (const { container, next } of clones) {
        container.stdin?.end();
        lastWords.push(`${await next()} ${await next()}`);
        expect(await container.wait()).toMatchObject({ code: 0 });
      }
    };

    beforeAll(async () => {
      setting = await setUp();
      // The first makes the template.
      const first = await setting.start({ memoryMib: MEMORY_MIB, command: ["true"] });
      await first.wait();
      await first[Symbol.asyncDispose]();
      before = await checksumsOf(setting.templatesDir);
      for (let n = 0; n < CLONES; n += AT_ONCE) await liveTogether(labels.slice(n, n + AT_ONCE));
    }, PATIENCE_MS);

    test.each(Object.keys(FACTS))("never have the same %s", (fact) => {
      const values = facts.get(fact) ?? [];
      expect(values).toHaveLength(CLONES);
      expect(values.every((value) => /\S{8}/.test(value))).toBe(true);
      expect(new Set(values).size).toBe(CLONES);
    });

    test(`have a clock within ${MAX_CLOCK_ERROR_MS} ms of the host's`, () => {
      expect(clockErrors).toHaveLength(CLONES);
      expect(
        clockErrors.every((error) => error <= MAX_CLOCK_ERROR_MS),
        clockErrors.join(" "),
      ).toBe(true);
    });

    test("have in their memory what they wrote, and nothing of what the others did", () => {
      expect(inMemory.toSorted()).toEqual(labels.toSorted());
      expect(lastWords).toEqual(labels.map((label) => `mark ${marks.of(label)}`));
    });

    test("leave the template as it was", async () => {
      expect(await checksumsOf(setting.templatesDir)).toEqual(before);
    });
  });

  test(`nothing of a container in ${name} is in a template`, { timeout: PATIENCE_MS }, async () => {
    const setting = await setUp();
    const marks = makeMarks();
    const names = ["env", "argument", "stdin", "file", "folder", "label", "hostname"] as const;
    const folder = await mkdtemp(join(tmpdir(), "flamebox-secrets-"));
    try {
      await writeFile(join(folder, "secret"), `${marks.of("folder")}\n`);
      const script = `cat; cat /secrets/secret; echo $0 $SECRET; echo ${marks.of("file")} >/tmp/file; cat /tmp/file; hostname; sync`;
      // The first container of another size: its template is made while all of this is known.
      await using container = await startRestored(setting, {
        memoryMib: OTHER_MEMORY_MIB,
        command: ["sh", "-c", script, marks.of("argument")],
        env: { SECRET: marks.of("env") },
        labels: { secret: marks.of("label") },
        hostname: `${marks.of("hostname")}x`,
        binds: [{ source: folder, target: "/secrets", readonly: true }],
        interactive: true,
      });
      container.stdin?.end(`${marks.of("stdin")}\n`);
      const [stdout] = await Promise.all([text(container.stdout), text(container.stderr)]);
      expect(await container.wait()).toMatchObject({ code: 0 });
      for (const label of names.filter((each) => each !== "label")) expect(stdout).toContain(marks.of(label));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    const saved = await savedFiles(setting.templatesDir);
    // That it is looked for where something is to be found.
    const agents = await Promise.all(saved.map(async (path) => await behindEach(path, "flamebox-agent")));
    expect(agents.flat()).not.toEqual([]);
    for (const path of saved) expect([path, ...(await marks.inFile(path))]).toEqual([path]);
  });
}
