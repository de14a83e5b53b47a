/** What is kept of a process's output, and who sees what of it when. */
import { PassThrough } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { OutputLog } from "../../src/container/output-log.ts";
import type { OutputEvent, OutputLogOptions } from "../../src/container/output-log.ts";

const MAX_BYTES = 4_096;
/** Two pieces of a few bytes, and what it takes to keep them. */
const TWO_PIECES = 550;

function made(maxBytes = MAX_BYTES) {
  const stdout = new PassThrough({ highWaterMark: 1 });
  const stderr = new PassThrough({ highWaterMark: 1 });
  const log = new OutputLog({ stdout, stderr }, maxBytes);
  const say = async (text: string, stream: PassThrough = stdout): Promise<void> => {
    stream.write(text);
    for (let n = 0; n < 5; n++) await turn();
  };
  const end = (): void => {
    stdout.end();
    stderr.end();
  };
  return { log, stdout, stderr, say, end };
}

const shown = ({ stream, bytes }: OutputEvent): string => `${stream}: ${bytes.toString()}`;
async function all(source: AsyncIterable<OutputEvent>): Promise<string[]> {
  const texts: string[] = [];
  for await (const event of source) texts.push(shown(event));
  return texts;
}

describe("what was said", () => {
  it("can be read as often as wanted, in its order", async () => {
    const { log, say, stderr } = made();
    await say("one\n");
    await say("two\n", stderr);
    const both = ["stdout: one\n", "stderr: two\n"];
    expect(await all(log.read())).toEqual(both);
    expect(await all(log.read())).toEqual(both);
  });

  it("is kept up to its bound, the last piece whole", async () => {
    const { log, say } = made(TWO_PIECES);
    await say("aaaa\n");
    await say("bbbb\n");
    await say("cccc\n");
    expect(await all(log.read())).toEqual(["stdout: bbbb\n", "stdout: cccc\n"]);
    await say("a piece that is longer than all of it\n");
    expect(await all(log.read())).toEqual(["stdout: a piece that is longer than all of it\n"]);
  });

  it("is bounded for a process that writes byte by byte, whatever came along in the same buffer", async () => {
    const { log, stdout } = made(64 << 10);
    const buffer = Buffer.alloc(64 << 10, "x");
    for (let n = 0; n < 2_000; n++) {
      if (!stdout.write(buffer.subarray(n, n + 1)))
        await new Promise((resolve) => stdout.once("drain", resolve));
    }
    const kept: OutputEvent[] = [];
    for await (const piece of log.read()) kept.push(piece);
    expect(kept.length).toBeLessThanOrEqual(256);
    expect(kept.every(({ bytes }) => bytes.buffer !== buffer.buffer)).toBe(true);
  });

  it.each<[OutputLogOptions["tail"], string[]]>([
    [undefined, ["stdout: 1\n2\n", "stderr: 3\n", "stdout: 4\n5"]],
    [0, []],
    [1, ["stdout: 5"]],
    [2, ["stdout: 4\n5"]],
    [3, ["stderr: 3\n", "stdout: 4\n5"]],
    [4, ["stdout: 2\n", "stderr: 3\n", "stdout: 4\n5"]],
    [9, ["stdout: 1\n2\n", "stderr: 3\n", "stdout: 4\n5"]],
  ])("has %s last lines", async (tail, expected) => {
    const { log, say, stderr } = made();
    await say("1\n2\n");
    await say("3\n", stderr);
    await say("4\n5");
    expect(await all(log.read({ tail }))).toEqual(expected);
  });

  it("counts a line that has its end as one", async () => {
    const { log, say } = made();
    await say("1\n2\n");
    expect(await all(log.read({ tail: 1 }))).toEqual(["stdout: 2\n"]);
  });

  it("has nothing from before a time", async () => {
    const { log, say } = made();
    await say("before\n");
    const since = new Date(Date.now() + 5);
    while (Date.now() <= since.getTime()) await turn();
    await say("after\n");
    expect(await all(log.read({ since }))).toEqual(["stdout: after\n"]);
  });
});

describe("who follows", () => {
  it("sees what was said and what comes, to the end", async () => {
    const { log, say, end } = made();
    await say("before\n");
    const followed = [all(log.read({ follow: true })), all(log.read({ follow: true, tail: 0 }))];
    await say("after\n");
    end();
    expect(await Promise.all(followed)).toEqual([
      ["stdout: before\n", "stdout: after\n"],
      ["stdout: after\n"],
    ]);
    expect(await all(log.read({ follow: true }))).toEqual(["stdout: before\n", "stdout: after\n"]);
  });

  it("holds nothing up, and misses what is not kept", async () => {
    const { log, say, end } = made(TWO_PIECES);
    const slow = log.read({ follow: true });
    await say("first\n");
    expect(shown((await slow.next()).value as OutputEvent)).toBe("stdout: first\n");
    for (let n = 0; n < 50; n++) await say(`number ${n}\n`);
    end();
    expect(await all(slow)).toEqual(["stdout: number 48\n", "stdout: number 49\n"]);
  });

  it("exactly has the process wait, and sees each piece once", async () => {
    const { log, stdout, say, end } = made();
    const exact = log.exactly();
    const seen: string[] = [];
    let written = 0;
    const reading = (async () => {
      for await (const { bytes } of exact) {
        seen.push(bytes.toString());
        await turn();
        // What it holds in its hands, what waits in the log, and what waits in the stream.
        expect(written - seen.join("").length / 100).toBeLessThan(5);
      }
    })();
    await say("");
    for (; written < 200; written++) {
      const line = `${written} `.padEnd(99, "x");
      if (!stdout.write(`${line}\n`)) await new Promise((resolve) => stdout.once("drain", resolve));
    }
    end();
    await reading;
    expect(
      seen
        .join("")
        .split("\n")
        .map((line) => line.split(" ")[0]),
    ).toEqual([...Array.from({ length: 200 }, (_, n) => `${n}`), ""]);
  });

  it("exactly and leaves, lets the process go on", async () => {
    const { log, say, stderr, end } = made();
    const exact = log.exactly();
    const first = exact.next();
    await say("one\n");
    await say("two\n", stderr);
    expect(shown((await first).value as OutputEvent)).toBe("stdout: one\n");
    await exact.return();
    await say("three\n");
    end();
    expect(await all(log.read({ follow: true }))).toEqual([
      "stdout: one\n",
      "stderr: two\n",
      "stdout: three\n",
    ]);
  });

  it("is told by its signal to stop, with the signal's reason", async () => {
    const { log } = made();
    const controller = new AbortController();
    const followed = all(log.read({ follow: true, signal: controller.signal }));
    await turn();
    controller.abort(new Error("enough"));
    await expect(followed).rejects.toThrow("enough");
    await expect(all(log.exactly(controller.signal))).rejects.toThrow("enough");
  });

  it("is told when the output broke off", async () => {
    const { log, stdout, say } = made();
    await say("one\n");
    const followed = all(log.read({ follow: true }));
    stdout.destroy(new Error("the machine has gone"));
    await expect(followed).rejects.toThrow("the machine has gone");
    expect(await all(log.read())).toEqual(["stdout: one\n"]);
  });
});
