/** The command line's own parsers: whatever is typed is taken or refused with a UsageError, never worse. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseEnvFile } from "../../src/cli/args/environment.ts";
import { parseDuration } from "../../src/cli/args/duration.ts";
import { parseMount, parseTmpfs, parseVolume } from "../../src/cli/args/mounts.ts";
import { parseAddHost, parsePublish } from "../../src/cli/args/network.ts";
import { parseUlimit } from "../../src/cli/args/resources.ts";
import { parseDevice, parseDeviceCgroupRule, parseSecurityOpts } from "../../src/cli/args/security.ts";
import { parseCpus, parseMemoryMib, parseSize } from "../../src/cli/args/size.ts";
import { drawItems } from "../../src/cli/output/progress-bars.ts";
import { ProgressBoard } from "../../src/cli/output/progress-board.ts";
import { columnsOf, printable, truncate } from "../../src/cli/output/text.ts";
import { taken } from "./taken.ts";

const SEED = 20_251_123;
const settings = { seed: SEED, numRuns: 2000 };

/** Text made of what the grammar is made of, which gets further in than noise does. */
function wordsOf(...parts: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof(
    fc.string(),
    fc.array(fc.constantFrom(...parts), { maxLength: 12 }).map((list) => list.join("")),
  );
}

describe("any text", () => {
  it("as a port mapping", () => {
    fc.assert(
      fc.property(
        wordsOf("80", "65535", "0", "-", ":", "/", "tcp", "udp", "[", "]", "::1", "1.2.3.4"),
        (text) => {
          for (const { hostPort, containerPort, hostAddress } of taken(() => parsePublish(text)) ?? []) {
            expect(hostPort >= 0 && hostPort <= 65_535 && containerPort >= 1 && containerPort <= 65_535).toBe(
              true,
            );
            expect(hostAddress ?? "1.1.1.1").toMatch(/^[\d.]+$|:/);
          }
        },
      ),
      settings,
    );
  });

  it("as a host's address", () => {
    fc.assert(
      fc.property(wordsOf("a", "-", ".", ":", "=", "[", "]", "::1", "1.2.3.4", "\n", " "), (text) => {
        const entry = taken(() => parseAddHost(text));
        if (entry === undefined) return;
        // It becomes a line of /etc/hosts.
        expect(`${entry.address} ${entry.host}`).toMatch(/^[\da-fA-F.:%\w]+ [\w.-]+$/);
      }),
      settings,
    );
  });

  it("as a size or a count", () => {
    fc.assert(
      fc.property(wordsOf("1", "0", "9", ".", "k", "m", "G", "i", "b", " ", "-", "e"), (text) => {
        for (const parse of [(word: string) => parseSize(word, "--x"), parseMemoryMib, parseCpus]) {
          const value = taken(() => parse(text)) ?? 1;
          expect(Number.isFinite(value) && value > 0).toBe(true);
        }
      }),
      settings,
    );
  });

  it("as a mount", () => {
    const words = wordsOf(
      "/",
      "a",
      ".",
      "..",
      ":",
      ",",
      "=",
      '"',
      "ro",
      "rw",
      "z",
      "nocopy",
      "rshared",
      "type",
      "bind",
      "volume",

      "tmpfs",
      "source",
      "src",
      "target",
      "dst",
      "readonly",
      "true",
      "tmpfs-size",
      "tmpfs-mode",
      "7",
      "1m",
    );
    fc.assert(
      fc.property(words, (text) => {
        for (const parse of [parseVolume, parseMount, parseTmpfs]) {
          const parsed = taken(() => parse(text));
          if (parsed === undefined) continue;
          const paths = [parsed.mount.target, ...(parsed.kind === "bind" ? [parsed.mount.source] : [])];
          for (const path of paths) expect(path).toMatch(/^\//);
        }
      }),
      settings,
    );
  });

  it("as a limit, a device, a security option, a duration", () => {
    const words = wordsOf(
      "nofile",
      "=",
      ":",
      "-1",
      "1",
      "9",
      "c",
      "b",
      "a",
      " ",
      "*",
      "r",
      "w",
      "m",
      "/dev/fuse",
      "seccomp",
      "no-new-privileges",
      "unconfined",
      "true",
      "s",
      "ms",
      "h",
      ".",
    );
    fc.assert(
      fc.property(words, (text) => {
        const ulimit = taken(() => parseUlimit(text));
        expect(Number.isSafeInteger(ulimit?.soft ?? 0) && Number.isSafeInteger(ulimit?.hard ?? 0)).toBe(true);
        expect(taken(() => parseDevice(text))?.path ?? "/").toMatch(/^\//);
        expect(taken(() => parseDeviceCgroupRule(text))?.access ?? "r").toMatch(/^[rwm]{1,3}$/);
        taken(() => parseSecurityOpts([text]));
        expect(Number.isFinite(taken(() => parseDuration(text, "--x")) ?? 0)).toBe(true);
      }),
      settings,
    );
  });

  it("as an env file", () => {
    fc.assert(
      fc.property(wordsOf("A", "=", "\n", "\r\n", "#", " ", "\0", "\ufeff", "'"), (text) => {
        for (const [name, value] of taken(() => parseEnvFile(text, "f", { A: "a" })) ?? []) {
          expect(name).toMatch(/^[^\s=]+$/);
          expect(value).not.toMatch(/[\0\n]/);
        }
      }),
      settings,
    );
  });

  it("becomes one harmless line, cut to its width", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.nat(40), (text, columns) => {
        const line = printable(text);
        expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        expect(columnsOf(truncate(line, columns))).toBeLessThanOrEqual(columns);
      }),
      settings,
    );
  });
});

describe("any progress", () => {
  const event = fc.record(
    {
      id: fc.constantFrom("layer:a", "layer:b", "kernel"),
      label: fc.string({ unit: "binary", maxLength: 60 }),
      state: fc.constantFrom("running", "done", "cached", "failed"),
      current: fc.double({ noNaN: true, min: -1e20, max: 1e20 }),
      total: fc.double({ noNaN: true, min: -1e20, max: 1e20 }),
      unit: fc.constantFrom("bytes", "steps"),
      note: fc.string({ maxLength: 60 }),
    },
    { requiredKeys: ["id", "label", "state"] },
  );

  it("fits the window", () => {
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 20 }),
        fc.integer({ min: 20, max: 120 }),
        fc.integer({ min: 1, max: 10 }),
        (events, columns, rows) => {
          const board = new ProgressBoard(0);
          for (const [index, one] of events.entries()) board.update(one, index * 300);
          const lines = drawItems([...board.items.values()], 10_000, { columns, rows, colours: false });
          expect(lines.length).toBeLessThanOrEqual(rows);
          for (const line of lines) expect(columnsOf(line)).toBeLessThanOrEqual(columns);
        },
      ),
      settings,
    );
  });
});
