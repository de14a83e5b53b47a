import { spawnSync } from "node:child_process";
import type { Command } from "commander";
import { beforeAll, describe, expect, test } from "vitest";
import { manualPages, roff } from "../../src/cli/man.ts";
import type { ManualPage } from "../../src/cli/man.ts";
import { createProgram } from "../../src/cli/program.ts";
import { fakeContext } from "./fake-context.ts";

let pages: ManualPage[];
beforeAll(async () => {
  const program = createProgram(fakeContext());
  await program.loadAll();
  pages = manualPages(program.root, "1.2.3");
});

const installed = spawnSync("man", ["--version"]).status === 0;

describe("manual pages", () => {
  test("are there for every command, each once", () => {
    const names = pages.map(({ fileName }) => fileName);
    expect(names).toEqual([...new Set(names)]);
    for (const name of ["flamebox.1", "flamebox-run.1", "flamebox-exec.1", "flamebox-template-ls.1"])
      expect(names).toContain(name);
    expect(names.filter((name) => name.includes("__"))).toEqual([]);
  });

  test("and there is one for each command that help shows, and for each below it", async () => {
    const program = createProgram(fakeContext());
    await program.loadAll();
    const visible = (command: Command): Command[] => command.createHelp().visibleCommands(command);
    const expected = visible(program.root).flatMap((command) => [
      `flamebox-${command.name()}.1`,
      ...visible(command).map((inner) => `flamebox-${command.name()}-${inner.name()}.1`),
    ]);
    const names = pages.map(({ fileName }) => fileName);
    expect(names).toEqual(expect.arrayContaining(expected.filter((name) => name !== "flamebox-help.1")));
    expect(expected.length).toBeGreaterThan(60);
  });

  test("have a name, a synopsis, options and examples", () => {
    const { text = "" } = pages.find(({ fileName }) => fileName === "flamebox-exec.1") ?? {};
    expect(text).toMatch(
      /^\.TH FLAMEBOX\\-EXEC 1 "" "flamebox 1\.2\.3" "FlameBox"\n\.SH NAME\nflamebox\\-exec \\- /,
    );
    for (const heading of ["SYNOPSIS", "DESCRIPTION", "ARGUMENTS", "OPTIONS", "EXAMPLES", "SEE ALSO"])
      expect(text).toContain(`.SH ${heading}\n`);
    expect(text).toContain("\\fB\\-i, \\-\\-interactive\\fR");
  });

  test("have no line that roff would take for a request of its own", () => {
    const requests = /^\.(?:TH|SH|TP|PP|nf|fi)\b/;
    const lines = pages.flatMap(({ text }) => text.split("\n")).filter((line) => /^[.']/.test(line));
    expect(lines.filter((line) => !requests.test(line))).toEqual([]);
  });

  test.skipIf(!installed)("are taken by man without a complaint (skipped where it is not installed)", () => {
    for (const { text } of pages.slice(0, 6)) {
      const { status, stderr } = spawnSync("man", ["--warnings", "-l", "-"], {
        input: text,
        encoding: "utf8",
      });
      expect([status, stderr]).toEqual([0, ""]);
    }
  });
});

test.each([
  ["a-b", "a\\-b"],
  ["\\n", "\\en"],
  [".TH", "\\&.TH"],
  ["a\n'b", "a\n\\&'b"],
])("%j becomes %j", (text, expected) => {
  expect(roff(text)).toBe(expected);
});
