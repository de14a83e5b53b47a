/** What `ps` has of disks and images: sizes, mounts, volumes, exposed ports, a single label. On real images and records. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { execute } from "../../src/cli/execute.ts";
import { openHome } from "../../src/container/home.ts";
import { DEFAULT_LOG, NO_RESTART } from "../../src/container/lifecycle/record.ts";
import type { ContainerRecord } from "../../src/container/lifecycle/record.ts";
import { addContainer } from "../../src/container/lifecycle/roster.ts";
import { surroundingsOf } from "../../src/container/lifecycle/surroundings.ts";
import { findImage } from "../../src/images/images.ts";
import * as library from "../../src/index.ts";
import { hostPlatform } from "../../src/oci/platform.ts";
import { writeLayout } from "../support/oci-layout.ts";
import { archive, entry } from "../support/tar-builder.ts";
import { fakeContext } from "./fake-context.ts";

let home: string;
const paths = () => ({ dataDir: join(home, "data"), runtimeDir: join(home, "run") });

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "flamebox-ps-"));
  mkdirSync(join(home, "data", "locks"), { recursive: true });
  const platform = hostPlatform(process.arch) as { os: string; architecture: string };
  const layers = [archive(entry({ name: "srv/big" }, "x".repeat(90_000)))];
  const config = { Volumes: { "/data": {} }, ExposedPorts: { "5432/tcp": {}, "53/udp": {} }, Cmd: ["/x"] };
  await writeLayout(join(home, "layout"), "1", [{ platform, layers, config }]);
  const { id: imageId } = await library.pull(`oci:${join(home, "layout")}:1`, { paths: paths() });
  await using store = await openHome({ paths: paths() });
  const image = await findImage(store, imageId);
  if (image === undefined) throw new Error("the image is not here");
  const common = { imageName: "db:1", image, args: ["/x"], restart: NO_RESTART, log: DEFAULT_LOG };
  const add = async (name: string, digit: string, options: ContainerRecord["options"]) => {
    const labels = name === "db" ? { app: "shop", "__proto__.x": "y" } : {};
    const createdAt = `2026-01-0${digit}T00:00:00.000Z`;
    const record = { ...common, id: digit.repeat(64), name, createdAt, options, labels, autoRemove: false };
    await addContainer(paths(), record);
    writeFileSync(join(home, "data", "containers", record.id, "disk"), Buffer.alloc(1 << 20, 1));
  };
  await add("db", "2", {
    binds: [{ source: "/srv/a-long-folder", target: "/mnt", readonly: false }],
    publish: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
  });
  await add("plain", "1", { volumes: [{ target: "/data" }, { target: "/more" }], expose: ["7000-7010"] });
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

async function ps(...words: string[]) {
  const context = { ...fakeContext({ env: { FLAMEBOX_HOME: home } }), loadLibrary: async () => library };
  const exitCode = await execute(["ps", "-a", ...words], context);
  return { exitCode, out: context.stdout.text, err: context.stderr.text };
}

describe("ps", () => {
  it("-s has a column of sizes, and only then", async () => {
    const [heading, db] = (await ps("-s")).out.split("\n");
    expect(heading).toMatch(/ NAMES +SIZE$/);
    expect(db).toMatch(/ db +1\.0\dMB \(virtual 1\.1\d?MB\)$/);
    expect((await ps()).out).not.toContain("SIZE");
    expect((await ps("--format", "{{.Names}} {{.Size}}")).out).toMatch(/^db 1\.0\dMB \(virtual 1\.1/);
    const [json] = JSON.parse((await ps("--json", "--size")).out) as library.ContainerInfo[];
    expect(json?.sizes?.ownBytes).toBeGreaterThan(1 << 20);
    expect(json?.sizes?.imageBytes).toBeGreaterThan(90_000);
  });

  it.each<[string, string]>([
    ["{{.Names}}: {{.Mounts}}", "db: /srv/a-long-fo…,/data\nplain: /data,/more\n"],
    ["{{.Names}}: {{.LocalVolumes}}", "db: 1\nplain: 2\n"],
    ['{{.Names}}={{.Label "app"}}', "db=shop\nplain=\n"],
    ['{{.Label "app" | upper}}', "SHOP\n\n"],
    ['{{.Label "__proto__"}}', "\n\n"],
    ['table {{.Names}}\t{{.Label "app"}}', "NAMES   APP\ndb      shop\nplain\n"],
  ])("--format %j", async (format, out) => {
    expect((await ps("--format", format)).out).toBe(out);
  });

  it("--no-trunc has whole mounts, JSON has where they are", async () => {
    expect((await ps("--no-trunc", "--format", "{{.Mounts}}")).out).toContain("/srv/a-long-folder,/data\n");
    expect(JSON.parse((await ps("--json")).out)).toMatchObject([
      {
        mounts: [
          { type: "bind", source: "/srv/a-long-folder", target: "/mnt" },
          { type: "volume", target: "/data" },
        ],
        exposed: ["5432/tcp", "53/udp", "80/tcp"],
      },
      { exposed: ["5432/tcp", "53/udp", "7000-7010/tcp"] },
    ]);
  });

  it.each<[string, string]>([
    ["volume=/data", "db plain"],
    ["volume=/mnt", "db"],
    ["volume=/srv/a-long-folder", "db"],
    ["volume=/srv", ""],
    ["expose=5432", "db plain"],
    ["expose=53", ""],
    ["expose=53/udp", "db plain"],
    ["expose=80/tcp", "db"],
    ["expose=7005", "plain"],
    ["expose=7009-7100/TCP", "plain"],
    ["expose=7011-7100", ""],
  ])("--filter %s", async (filter, names) => {
    const { out } = await ps("--filter", filter, "--format", "{{.Names}}");
    expect(out.trim().split("\n").join(" ")).toBe(names);
  });

  it.each<[string[], string]>([
    [["--filter", "expose=http"], "http is no port"],
    [["--format", "{{.Label}}"], ".Label takes a value"],
    [["--format", '{{.Names "x"}}'], ".Names takes no value"],
    [["--format", '{{.Label "a" "b"}}'], ".Label takes one value"],
  ])("%j is refused", async (words, said) => {
    const { exitCode, err } = await ps(...words);
    expect([exitCode, err]).toEqual([1, expect.stringContaining(said)]);
  });

  it("does without an image's config that is gone", () => {
    expect(surroundingsOf({ options: { expose: ["80"] } }, undefined)).toEqual({
      mounts: [],
      exposed: ["80/tcp"],
    });
  });
});
