/** A VMM ends with whoever started it, and is not started for one who has ended. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { enclosedCommand } from "../../src/machine/enclosure.ts";
import { startTicksOf } from "../../src/util/liveness.ts";
import { repository } from "../support/images/layouts.ts";

const helper = join(repository, "guest", "target", "x86_64-unknown-linux-gnu", "release", "flamebox-agent");
const FAILED = 125;

async function ended(pid: number): Promise<boolean> {
  for (let tries = 0; tries < 100 && startTicksOf(pid) !== undefined; tries++) await sleep(50);
  return startTicksOf(pid) === undefined;
}

describe.each([
  { what: "of this user's", changesUser: undefined },
  { what: "that changes its user", changesUser: "watched" },
] as const)("a program $what", ({ changesUser }) => {
  test("runs as long as this process does, and no longer", async () => {
    const command = await enclosedCommand(["/bin/sleep", "1000"], { helper, changesUser });
    const [program = "", ...args] = command.map((word) => (word === String(process.pid) ? "$$" : word));
    // The shell stands for the process that starts a machine: it says whom it has started, and is killed.
    const script = `${[program, ...args].map((word) => (word === "$$" ? word : `'${word}'`)).join(" ")} & echo $!; wait`;
    const starter = spawn("/bin/sh", ["-c", script], { stdio: ["ignore", "pipe", "inherit"] });
    const [chunk] = (await once(starter.stdout, "data")) as [Buffer];
    const pid = Number(chunk.toString());
    await sleep(300);
    expect(startTicksOf(pid)).toBeDefined();
    starter.kill("SIGKILL");
    await once(starter, "exit");
    expect(await ended(pid)).toBe(true);
  });

  test("does not start when whoever wanted it has ended before it could look", async () => {
    const command = await enclosedCommand(["/bin/echo", "it runs"], { helper, changesUser });
    const [program = "", ...args] = command;
    expect(spawnSync(program, args, { encoding: "utf8" })).toMatchObject({ status: 0, stdout: "it runs\n" });
    // As another's child, it finds another parent than it was told.
    const through = spawnSync("/bin/sh", ["-c", '"$@"; exit $?', "sh", program, ...args], {
      encoding: "utf8",
    });
    expect(through).toMatchObject({ status: FAILED, stdout: "" });
    expect(through.stderr).toContain("who started it has ended");
  });
});
