/** Containers from templates: what machines of one template have in common, and what they must not. */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { buildTemplate, listTemplates, run, start } from "flamebox";
import type { TemplateInfo } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";

const CLONES = 32;
const MAX_CLOCK_ERROR_MS = 50;
const busybox = `${inject("registry")}/flamebox/busybox:1`;

let home: Home;
let template: TemplateInfo;
beforeAll(async () => {
  home = await makeHome(inject("kernelDir"), { ownTemplates: true });
  const pulled = await home.run(["pull", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
  template = await buildTemplate({ paths: home.paths });
});
afterAll(async () => {
  const left = await home.leftovers();
  await home[Symbol.asyncDispose]();
  if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
});

const common = () => ({ paths: home.paths, dockerConfig: null });
const templateDir = () => join(home.paths.dataDir, "templates", template.key);

async function digestsOf(dir: string): Promise<string[]> {
  const digests: string[] = [];
  for (const name of ["ram", "state"]) {
    const hash = createHash("sha256");
    await pipeline(createReadStream(join(dir, name)), hash);
    digests.push(hash.digest("hex"));
  }
  return digests;
}

/** Whether any template has these bytes in it. */
async function templatesHave(text: string): Promise<boolean> {
  const dir = join(home.paths.dataDir, "templates");
  try {
    await promisify(execFile)("grep", [
      "--recursive",
      "--binary",
      "--quiet",
      "--fixed-strings",
      "--",
      text,
      dir,
    ]);
    return true;
  } catch (error) {
    // grep's way to say that it found nothing.
    if ((error as { code?: unknown }).code !== 1) throw error;
    return false;
  }
}

describe(`${CLONES} machines of one template`, () => {
  const FACTS = {
    random: "od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n'",
    uuid: "cat /proc/sys/kernel/random/uuid",
    "boot id": "cat /proc/sys/kernel/random/boot_id",
    hostname: "hostname",
    mac: "cat /sys/class/net/eth0/address",
    stack: "grep '\\[stack\\]' /proc/self/maps",
  } as const;
  const seen = new Map<string, string[]>();
  let before: string[];

  beforeAll(async () => {
    before = await digestsOf(templateDir());
    const script = Object.entries(FACTS)
      .map(([name, command]) => `echo "${name}: $(${command})"`)
      .join("\n");
    for (let n = 0; n < CLONES; n++) {
      const notices: string[] = [];
      const { code, stdout } = await run(busybox, {
        ...common(),
        command: ["sh", "-c", script],
        onNotice: (notice) => notices.push(notice),
      });
      const complaints = notices.filter((notice) => notice.includes("template"));
      if (code !== 0 || complaints.length > 0) throw new Error(`exit code ${code} ${complaints.join()}`);
      for (const line of stdout.toString().trim().split("\n")) {
        const [name = "", value = ""] = line.split(/: (.*)/s);
        seen.set(name, [...(seen.get(name) ?? []), value]);
      }
    }
  }, 600_000);

  test.each(Object.keys(FACTS))("never have the same %s", (name) => {
    const values = seen.get(name) ?? [];
    expect(values).toHaveLength(CLONES);
    expect(values.every((value) => /\S{8}/.test(value))).toBe(true);
    expect(new Set(values).size).toBe(CLONES);
  });

  test("leave the template as it was", async () => {
    expect(await digestsOf(templateDir())).toEqual(before);
    expect((await listTemplates(common())).map(({ key }) => key)).toEqual([template.key]);
  });
});

test("machines of one template do not see what the others write to memory", async () => {
  const mark = randomBytes(16).toString("hex");
  const write = `i=0; while [ $i -lt 3000 ]; do echo ${mark}; i=$((i + 1)); done >/dev/shm/mark; cat; ls /dev/shm`;
  await using writer = await start(busybox, { ...common(), command: ["sh", "-c", write], interactive: true });
  const reader = await run(busybox, { ...common(), command: ["ls", "/dev/shm"] });
  expect({ code: reader.code, stdout: reader.stdout.toString() }).toEqual({ code: 0, stdout: "" });
  expect(await templatesHave(mark)).toBe(false);
  writer.stdin?.end();
  expect(await writer.wait()).toMatchObject({ code: 0 });
});

test(`the clock is within ${MAX_CLOCK_ERROR_MS} ms of the host's`, async () => {
  // The time of a new file is the kernel's clock at its last tick.
  const script = "while read -r line; do : >/tmp/$line; stat -c %y /tmp/$line; done";
  await using container = await start(busybox, {
    ...common(),
    command: ["sh", "-c", script],
    interactive: true,
  });
  const lines = container.stdout.setEncoding("utf8").iterator() as AsyncIterableIterator<string>;
  const errors: number[] = [];
  for (let n = 0; n < 5; n++) {
    const sentMs = Date.now();
    container.stdin?.write(`file-${n}\n`);
    const { value } = await lines.next();
    const receivedMs = Date.now();
    const [, date = "", seconds = "", fraction = ""] = /^(\S+) (\S+)(\.\d+)/.exec(value as string) ?? [];
    const guestMs = Date.parse(`${date}T${seconds}Z`) + Number(fraction) * 1000;
    // Between the two it is right; the error is how far it is outside.
    errors.push(Math.max(0, sentMs - guestMs, guestMs - receivedMs));
  }
  container.stdin?.end();
  expect(
    errors.every((error) => error <= MAX_CLOCK_ERROR_MS),
    errors.join(" "),
  ).toBe(true);
  expect(await container.wait()).toMatchObject({ code: 0 });
});

test("nothing of a container is in a template", async () => {
  const canary = Object.fromEntries(
    ["env", "argument", "stdin", "file", "folder", "label", "hostname"].map((name) => [
      name,
      `canary${randomBytes(12).toString("hex")}`,
    ]),
  );
  const folder = join(home.dir, "secrets");
  await mkdir(folder);
  await writeFile(join(folder, "secret"), `${canary["folder"]}\n`);
  const script = `cat; cat /secrets/secret; echo $0 $SECRET; echo ${canary["file"]} >/tmp/file; cat /tmp/file; sync`;
  // The first container of another size: its template is made while all of this is known.
  const { code, stdout } = await run(busybox, {
    ...common(),
    memoryMib: 96,
    command: ["sh", "-c", script, canary["argument"] ?? ""],
    env: { SECRET: canary["env"] ?? "" },
    labels: { secret: canary["label"] ?? "" },
    hostname: canary["hostname"],
    binds: [{ source: folder, target: "/secrets", readonly: true }],
    stdin: `${canary["stdin"]}\n`,
  });
  expect(code).toBe(0);
  for (const name of ["env", "argument", "stdin", "file", "folder"])
    expect(stdout.toString()).toContain(canary[name]);
  expect(await listTemplates(common())).toHaveLength(2);
  expect(await templatesHave("flamebox-agent")).toBe(true);
  for (const [name, text] of Object.entries(canary))
    expect([name, await templatesHave(text)]).toEqual([name, false]);
});

describe("shapes", () => {
  test("--cpus and --memory are the machine's, and get a template of their own", async () => {
    const script = "nproc; grep MemTotal /proc/meminfo";
    const { code, stdout } = await run(busybox, {
      ...common(),
      cpus: 2,
      memoryMib: 700,
      command: ["sh", "-c", script],
    });
    expect(code).toBe(0);
    const [cpus, memory = ""] = stdout.toString().split("\n");
    expect(cpus).toBe("2");
    expect(Number(/\d+/.exec(memory)?.[0])).toBeGreaterThan(700 * 1024);
    const made = (await listTemplates(common()))[0];
    expect(made).toMatchObject({ cpus: 2, network: true });
    expect(made?.memoryMib).toBeGreaterThan(700);
    expect(made?.diskBytes).toBeLessThan(400 * 2 ** 20);
  });

  test("--network none is a machine without an interface, and another template", async () => {
    const { code, stdout } = await run(busybox, {
      ...common(),
      network: "none",
      command: ["ls", "/sys/class/net"],
    });
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 0, stdout: "lo\n" });
    expect((await listTemplates(common()))[0]).toMatchObject({ cpus: 1, network: false });
  });
});
