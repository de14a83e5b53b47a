/** `top NAME [ps OPTIONS]`: what is taken of ps's options, and the table. */
import { describe, expect, it } from "vitest";
import { parsePsOptions } from "../../src/cli/args/ps-options.ts";
import { execute } from "../../src/cli/execute.ts";
import type { ContainerProcess, Library } from "../../src/cli/library.ts";
import { fakeContext } from "./fake-context.ts";

const PROCESSES: ContainerProcess[] = [
  {
    pid: 1,
    machinePid: 300,
    parent: 0,
    uid: 0,
    user: "root",
    name: "sh",
    state: "S",
    started: { seconds: 0, nanoseconds: 0 },
    cpuMicroseconds: 3_723_000_000,
    rssBytes: 2_048_000,
    args: ["sh", "-c", "sleep 9"],
  },
  {
    pid: 7,
    machinePid: 306,
    parent: 1,
    uid: 33,
    name: "sleep",
    state: "Z",
    started: { seconds: 0, nanoseconds: 0 },
    cpuMicroseconds: 90_000_000_000,
    rssBytes: 0,
    args: [],
  },
];

async function top(...words: string[]) {
  const context = {
    ...fakeContext(),
    loadLibrary: async () =>
      ({
        containerProcesses: async (name: string) => {
          expect(name).toBe("web");
          return PROCESSES;
        },
        locatePaths: () => ({ dataDir: "/x", runtimeDir: "/x" }),
      }) as unknown as Library,
  };
  const exitCode = await execute(["top", ...words], context);
  return { exitCode, out: context.stdout.text, err: context.stderr.text };
}

describe("top NAME", () => {
  it.each<[string, string[], string[][]]>([
    [
      "columns",
      ["-o", "pid,ppid,comm"],
      [
        ["PID", "PPID", "COMMAND"],
        ["1", "0", "sh"],
        ["7", "1", "sleep"],
      ],
    ],
    [
      "columns with a selection",
      ["-eo", "uid,user"],
      [
        ["UID", "USER"],
        ["0", "root"],
        ["33", "33"],
      ],
    ],
    [
      "columns of BSD's",
      ["axo", "pid cmd"],
      [
        ["PID", "CMD"],
        ["1", "sh -c sleep 9"],
        ["7", "[sleep]"],
      ],
    ],
    [
      "columns attached",
      ["-opid", "-ostat"],
      [
        ["PID", "STAT"],
        ["1", "S"],
        ["7", "Z"],
      ],
    ],
    [
      "time and memory",
      ["--format=time,rss"],
      [
        ["TIME", "RSS"],
        ["01:02:03", "2000"],
        ["01-01:00:00", "0"],
      ],
    ],
    ["a heading", ["-o", "pid=NUMBER, THAT IS"], [["NUMBER, THAT IS"], ["1"], ["7"]]],
    [
      "no headings",
      ["-o", "pid=", "-o", "s="],
      [
        ["1", "S"],
        ["7", "Z"],
      ],
    ],
  ])("prints %s", async (_, words, rows) => {
    const { exitCode, out } = await top("web", ...words);
    const cells = out
      .trimEnd()
      .split("\n")
      .map((line) => line.split(/ {3,}/));
    expect([exitCode, cells]).toEqual([0, rows]);
  });

  it.each([[[]], [["aux"]], [["-ef"]], [["-A", "-f"]], [["-ww"]]])(
    "prints the usual table with %j",
    async (words) => {
      const { out } = await top("web", ...words);
      expect(out).toMatch(/^USER +PID +PPID +STATE +CPU +MEM +COMMAND\nroot +1 +0 +S +1h02m +2.05MB +sh -c/);
    },
  );

  it("prints JSON wherever --json stands", async () => {
    const { out } = await top("web", "-o", "pid", "--json");
    expect(JSON.parse(out)).toMatchObject([{ pid: 1 }, { pid: 7 }]);
  });

  it.each<[string, string[], string]>([
    ["an option of ps's that has no meaning", ["web", "-p", "1"], "'-p' is no option of ps that top knows"],
    ["a long one", ["web", "--forest"], "'--forest' is no option of ps that top knows"],
    ["another container", ["web", "db"], "'db' is no option of ps that top knows"],
    ["a column that is not known", ["web", "-o", "pid,wchan"], "there is no column 'wchan'"],
    ["no column", ["web", "-eo"], "the ps option -eo takes columns"],
    ["nothing for a column", ["web", "-o", ","], "',' are no columns"],
    ["an option before the name", ["--bogus"], "unknown option '--bogus'"],
  ])("refuses %s", async (_, words, said) => {
    const { exitCode, err } = await top(...words);
    expect([exitCode, err]).toEqual([1, expect.stringContaining(said)]);
    expect(err).toContain("hint: ");
  });

  it("bounds what it takes", () => {
    expect(() => parsePsOptions(["-o", "pid,".repeat(101)])).toThrow("more than 100 columns");
  });
});
