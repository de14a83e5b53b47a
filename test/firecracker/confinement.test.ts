/** What a VMM has on this host while it runs: /proc says. */
import { readFile, readdir, readlink } from "node:fs/promises";
import { expect, test } from "vitest";
import { firecrackerHost } from "./setup.ts";

const isRoot = process.getuid?.() === 0;

async function statusOf(path: string): Promise<Record<string, string>> {
  const lines = (await readFile(`${path}/status`, "utf8")).split("\n").map((line) => line.split(":\t"));
  return Object.fromEntries(lines.map(([name = "", value = ""]) => [name, value]));
}

test("a VMM has a filter, no way to new privileges, and no network of this host's", async () => {
  const { driver, boot } = await firecrackerHost();
  const network = { attach: () => {}, mac: "52:54:00:00:00:01" };
  await using machine = await driver.start({ boot, cpus: 2, memoryMib: 256, disks: {}, network });
  const own = `/proc/${machine.pid}`;
  const threads = await readdir(`${own}/task`);
  // The API's, the VMM's own, and one for each CPU.
  expect(threads.length).toBeGreaterThanOrEqual(4);
  for (const thread of threads) {
    expect(await statusOf(`${own}/task/${thread}`)).toMatchObject({ NoNewPrivs: "1", Seccomp: "2" });
  }
  expect(await readlink(`${own}/ns/net`)).not.toBe(await readlink("/proc/self/ns/net"));
  const devices = (await readFile(`${own}/net/dev`, "utf8")).match(/^\s*\w+(?=:)/gm);
  expect(devices?.map((name) => name.trim()).sort()).toEqual(["fb0", "lo"]);
});

// Root's VMMs are root as long as the jailer is not used; docs/vmms.md says so.
test.skipIf(isRoot)("a VMM of an ordinary user's is his, and has no capability", async () => {
  const { driver, boot } = await firecrackerHost();
  const network = { attach: () => {}, mac: "52:54:00:00:00:01" };
  await using machine = await driver.start({ boot, cpus: 1, memoryMib: 256, disks: {}, network });
  const status = await statusOf(`/proc/${machine.pid}`);
  expect(status).toMatchObject({ CapEff: "0000000000000000", CapPrm: "0000000000000000" });
  expect(status["Uid"]?.split("\t")).toEqual(Array.from({ length: 4 }, () => String(process.getuid?.())));
});
