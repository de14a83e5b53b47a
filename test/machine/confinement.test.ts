/** What /proc says of a process whose threads come and go while it is read. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { confinementOf } from "../../src/machine/confinement.ts";

const THREADS_COME_AND_GO = `
const { Worker } = require("node:worker_threads");
const again = () => new Worker("", { eval: true }).once("exit", again).once("online", () => console.log("."));
for (let n = 0; n < 4; n++) again();
`;

test("threads that end while they are read are none any more", async () => {
  const child = spawn(process.execPath, ["-e", THREADS_COME_AND_GO], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(child.stdout, "data");
    const pid = child.pid ?? 0;
    const counts = new Set<number>();
    for (let reads = 0; reads < 500; reads++) {
      const found = await confinementOf(pid);
      expect(found).toMatchObject({ uid: process.getuid?.(), isFiltered: false, hasOwnRoot: false });
      counts.add(found.threads);
    }
    expect(counts.size).toBeGreaterThan(1);
  } finally {
    child.kill("SIGKILL");
  }
});

test("a process that is not there is an error", async () => {
  const child = spawn(process.execPath, ["-e", ""], { stdio: "ignore" });
  await once(child, "exit");
  await expect(confinementOf(child.pid ?? 0)).rejects.toMatchObject({ code: "ENOENT" });
});
