import { expect, test } from "vitest";
import { runCommand } from "../../src/util/command.ts";

/** One buffer for all pieces: a program must have taken each before the next is made. */
async function* pieces(count: number, fail?: Error): AsyncGenerator<Uint8Array> {
  const piece = Buffer.alloc(100_000);
  for (let at = 0; at < count; at++) yield piece.fill(at);
  if (fail !== undefined) throw fail;
}

test("input reaches a program whole, and then ends", async () => {
  const { stdout } = await runCommand("sha256sum", [], { input: pieces(50) });
  const whole = Buffer.concat(Array.from({ length: 50 }, (_, at) => Buffer.alloc(100_000, at)));
  const { createHash } = await import("node:crypto");
  expect(stdout.toString()).toBe(`${createHash("sha256").update(whole).digest("hex")}  -\n`);
});

test("a program that stops reading says itself why", async () => {
  const args = ["-c", "echo enough >&2; exit 3"];
  await expect(runCommand("sh", args, { input: pieces(1000) })).rejects.toMatchObject({
    code: "command-failed",
    message: expect.stringContaining("exit code 3: enough"),
  });
});

test("input that fails ends the program", async () => {
  const failure = new Error("no more");
  await expect(runCommand("cat", [], { input: pieces(3, failure) })).rejects.toBe(failure);
});
