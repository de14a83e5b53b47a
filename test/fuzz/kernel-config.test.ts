/** Fragments and records of kernels, of any content: an answer or an error that says so, and what is read is written. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseVersion } from "../../src/machine/kernel/apt.ts";
import * as fragment from "../../src/machine/kernel/fragment.ts";
import { parseChoice, parseKernelRecord } from "../../src/machine/kernel/store.ts";
import { MachineError } from "../../src/machine/machine.ts";

const options = { seed: 0x6b65726e, numRuns: 3000 };

const word = fc.constantFrom(
  "CONFIG_",
  "CONFIG_A",
  "CONFIG_B2",
  "=",
  "y",
  "n",
  "m",
  '"',
  "\\",
  "# ",
  " is not set",
  "0x",
  "7",
  "\n",
  "\r",
  "\0",
);
const text = fc.oneof(
  fc.string(),
  fc.array(word, { maxLength: 30 }).map((words) => words.join("")),
);

/** What is wrong with how a fragment was read or refused; undefined is fine. */
function faultOf(input: string): string | undefined {
  let settings: fragment.Settings;
  try {
    settings = fragment.parse(input, "f");
  } catch (error) {
    if (!(error instanceof MachineError)) return `threw ${String(error)}`;
    return /^f, line \d+: [^\p{C}]+$/u.test(error.message) ? undefined : `said ${error.message}`;
  }
  const written = fragment.format(settings);
  if (JSON.stringify([...fragment.parse(written, "f")]) !== JSON.stringify([...settings]))
    return `wrote ${written}`;
  // What takes is not complained of, whatever it was.
  const complaints = fragment.refused(settings, fragment.parseConfig(written));
  return complaints.length === 0 ? undefined : `complained of ${fragment.describe(complaints)}`;
}

test("a fragment is read, or refused with its line", () => {
  fc.assert(
    fc.property(text, (input) => {
      expect(faultOf(input)).toBeUndefined();
    }),
    options,
  );
});

const name = fc.constantFrom("6.12.1-flamebox-0a", "custom-1", "..", "a/b", "", 7, null);
const json = fc.oneof(
  text,
  fc.json(),
  fc
    .record(
      { release: name, modules: fc.oneof(fc.array(name), name), kind: name, path: name, name },
      { requiredKeys: [] },
    )
    .map((value) => JSON.stringify(value)),
);

const isPlain = (value: string) => /^[0-9A-Za-z][0-9A-Za-z._+~-]*$/.test(value);

test("a record names files of its own folder, or is none", () => {
  fc.assert(
    fc.property(json, (input) => {
      const record = parseKernelRecord("custom-1", input);
      const names = [record?.release, ...(record?.modules ?? []), parseChoice(input)];
      expect(names.filter((one) => one !== undefined && !isPlain(one))).toEqual([]);
    }),
    options,
  );
});

test("a version is a word for a command line, or none", () => {
  fc.assert(
    fc.property(text, fc.boolean(), (input, begins) => {
      expect(parseVersion(begins ? `Version: ${input}` : input) ?? "1").toMatch(/^[0-9A-Za-z.+:~-]+$/);
    }),
    options,
  );
});
