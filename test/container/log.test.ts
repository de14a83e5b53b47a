/** A container's log: exact bytes, rotation, following across it, and what a broken file does. */
import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { decode, encode, timestamp } from "../../src/container/log/format.ts";
import type { LogEntry } from "../../src/container/log/format.ts";
import { readLog } from "../../src/container/log/reader.ts";
import type { ReadOptions } from "../../src/container/log/reader.ts";
import { LOG_FILE, LogWriter } from "../../src/container/log/writer.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "flamebox-log-"))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const ROOM = { maxSizeBytes: 1 << 20, maxFiles: 3 };
const unexpected = (message: string) => {
  throw new Error(message);
};

function bytesOf(entries: readonly LogEntry[]): Buffer {
  return Buffer.concat(
    entries.flatMap(({ text, isWhole }) => (isWhole ? [text, Buffer.from("\n")] : [text])),
  );
}

async function all(options: ReadOptions = {}): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  for await (const entry of readLog(dir, options)) entries.push(entry);
  return entries;
}

describe("the format", () => {
  test("has the time in nanoseconds, the stream and the tag", () => {
    expect(timestamp(Date.UTC(2026, 0, 2, 3, 4, 5, 6) + 0.25)).toBe("2026-01-02T03:04:05.006250000Z");
    const time = "2026-01-02T03:04:05.006250000Z";
    const { room, length } = encode("stderr", time, Buffer.from("a\n\nb"));
    expect(room.toString("utf8", 0, length)).toBe(
      `${time} stderr F a\n${time} stderr F \n${time} stderr P b\n`,
    );
  });

  test.each([
    ["nothing", ""],
    ["no time", "now stdout F text"],
    ["a time without nanoseconds", "2026-01-02T03:04:05Z stdout F text here"],
    ["an unknown stream", "2026-01-02T03:04:05.000000000Z stdxxx F text"],
    ["an unknown tag", "2026-01-02T03:04:05.000000000Z stdout X text"],
    ["a header that is cut", "2026-01-02T03:04:05.000000000Z stdout F"],
  ])("is not %s", (_name, line) => {
    expect(decode(Buffer.from(line))).toBeUndefined();
  });

  test("gives back any bytes, cut in any way (seeded)", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 12 }),
        async (chunks) => {
          const own = mkdtempSync(join(dir, "run-"));
          {
            await using writer = new LogWriter(own, ROOM, unexpected);
            for (const chunk of chunks) await writer.write("stdout", Buffer.from(chunk));
          }
          const entries: LogEntry[] = [];
          for await (const entry of readLog(own)) entries.push(entry);
          expect(bytesOf(entries).equals(Buffer.concat(chunks))).toBe(true);
        },
      ),
      { seed: 20_261_129, numRuns: 100 },
    );
  });

  test("decodes no bytes to what they are not (seeded)", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        const entry = decode(Buffer.from(bytes));
        // Of an entry the text is what is behind the header, and nothing else.
        expect(entry === undefined || entry.text.length === bytes.length - 40).toBe(true);
      }),
      { seed: 7, numRuns: 2_000 },
    );
  });
});

describe("reading", () => {
  beforeEach(async () => {
    await using writer = new LogWriter(dir, ROOM, unexpected);
    for (const line of ["one", "two", "three", "four"])
      await writer.write("stdout", Buffer.from(`${line}\n`));
    await writer.write("stderr", Buffer.from("begun"));
  });

  test.each([
    [0, ""],
    [1, "begun"],
    [2, "four\nbegun"],
    [5, "one\ntwo\nthree\nfour\nbegun"],
    [99, "one\ntwo\nthree\nfour\nbegun"],
  ])("the last %i lines", async (tail, text) => {
    expect(bytesOf(await all({ tail })).toString()).toBe(text);
  });

  test("a span of time", async () => {
    const [, second, third] = await all();
    const sinceMs = Date.parse(second?.time ?? "");
    expect((await all({ sinceMs })).length).toBeGreaterThanOrEqual(4);
    expect(await all({ untilMs: Date.parse(third?.time ?? "") - 100_000 })).toEqual([]);
  });

  test("passes over lines that are none of ours, as a crash leaves them", async () => {
    appendFileSync(join(dir, LOG_FILE), "half a li\n2026-01-02T03:04:05.000000000Z stdout F after\n");
    const texts = (await all()).map(({ text }) => text.toString());
    expect(texts.at(-1)).toBe("after");
    expect(texts).toHaveLength(6);
  });

  test("goes through a line that has no end in bounded memory", async () => {
    writeFileSync(join(dir, LOG_FILE), Buffer.alloc(5 << 20, "x"));
    expect(await all()).toEqual([]);
  });
});

describe("rotation", () => {
  const small = { maxSizeBytes: 4096, maxFiles: 3 };

  test("keeps so many files of such a size, and the newest lines", async () => {
    await using writer = new LogWriter(dir, small, unexpected);
    for (let i = 0; i < 1_000; i++) await writer.write("stdout", Buffer.from(`line ${i}\n`));
    const files = readdirSync(dir).toSorted();
    expect(files).toEqual([LOG_FILE, `${LOG_FILE}.1`, `${LOG_FILE}.2`]);
    for (const file of files) expect(statSync(join(dir, file)).size).toBeLessThanOrEqual(4096);
    const texts = (await all()).map(({ text }) => text.toString());
    const first = Number(texts[0]?.slice(5));
    expect(texts).toEqual(Array.from({ length: 1_000 - first }, (_, i) => `line ${first + i}`));
  });

  test("is followed without a gap or a line twice", async () => {
    const lines = 600;
    let over = false;
    const read = (async () => {
      const texts: string[] = [];
      for await (const { text } of readLog(dir, { isOver: async () => over })) texts.push(text.toString());
      return texts;
    })();
    await using writer = new LogWriter(dir, { maxSizeBytes: 4096, maxFiles: 50 }, unexpected);
    for (let i = 0; i < lines; i++) {
      await writer.write("stdout", Buffer.from(`line ${i}\n`));
      if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    over = true;
    expect(await read).toEqual(Array.from({ length: lines }, (_, i) => `line ${i}`));
  });

  test("leaves a follower that falls behind the kept files with a gap, and nothing twice or out of order", async () => {
    await using writer = new LogWriter(dir, small, unexpected);
    const write = async (from: number, to: number): Promise<void> => {
      for (let i = from; i < to; i++) await writer.write("stdout", Buffer.from(`line ${i}\n`));
    };
    await write(0, 10);
    let over = false;
    const reading = readLog(dir, { isOver: async () => over });
    const numbers: number[] = [];
    for await (const { text } of reading) {
      numbers.push(Number(text.toString().slice(5)));
      // While it looks away, its file is rotated out of what is kept.
      if (numbers.length === 5) await write(10, 2_000);
      if (numbers.at(-1) === 1_999) over = true;
    }
    const gaps = numbers.filter((number, at) => at > 0 && number !== (numbers[at - 1] ?? 0) + 1);
    expect(numbers.slice(0, 10)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(gaps).toHaveLength(1);
    expect(numbers.toSorted((a, b) => a - b)).toEqual(numbers);
    expect(numbers.at(-1)).toBe(1_999);
  });

  test("ends following when it is told to", async () => {
    const signal = AbortSignal.timeout(100);
    await expect(all({ isOver: async () => false, signal })).rejects.toMatchObject({ name: "TimeoutError" });
  });
});

test("a log that cannot be written is told once, and takes nothing with it", async () => {
  const problems: string[] = [];
  await using writer = new LogWriter(join(dir, "missing"), ROOM, (message) => problems.push(message));
  await writer.write("stdout", Buffer.from("a\n"));
  await writer.write("stdout", Buffer.from("b\n"));
  expect(problems).toHaveLength(1);
});
