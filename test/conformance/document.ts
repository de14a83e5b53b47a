/** The table as docs/conformance.md. */
import { checklist } from "./checklist.ts";
import type { Line } from "./checklist.ts";
import { bases } from "./row.ts";
import type { Base } from "./row.ts";
import { elsewhere, groups, missing, runs } from "./table.ts";

const introduction = `# Conformance

What a process finds in a FlameBox container, line by line, as Docker's users rely on it. Each row is a test: it runs
in a machine (\`test/vm/conformance-*.test.ts\`) and says what it sees from inside, in \`/proc\`, \`stat\`, \`id\` and
\`mount\`. The same rows run with \`podman\` and \`runc\` where both are installed (as root; \`npm test\` skips them
elsewhere); the last column says where those show something else.

The rows are in \`test/conformance/rows/\`. This page is made of them: \`npx vitest run --project host
test/conformance -u\` writes it anew, and \`npm test\` compares.
`;

interface Podman {
  readonly differs?: string;
  readonly notRun?: string;
}

/** A cell of a table: one line, and no bar of its own. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll(/\s+/g, " ");
}

function podmanCell(...entries: readonly (object | undefined)[]): string {
  const said = entries.find((entry) => entry !== undefined && ("notRun" in entry || "differs" in entry)) as
    | Podman
    | undefined;
  if (said === undefined) return "the same";
  return said.notRun === undefined ? `differs: ${said.differs}` : `not run: ${said.notRun}`;
}

/** A flag's value may be an empty word. */
const shown = (flags: readonly string[]): string =>
  flags.length === 0
    ? ""
    : `\`${flags.map((flag) => (/^[^\s'"]+$/.test(flag) ? flag : `'${flag}'`)).join(" ")}\``;

function rowsOf(line: Line): string[] {
  const inGroups = groups.flatMap(({ name, images = bases, rows, podman }) =>
    rows
      .filter((row) => row.line === line)
      .map((row) => {
        const on = images.filter((base: Base) => (row.images ?? bases).includes(base));
        return [row.name, name, on.join(", "), podmanCell(podman, row.podman)];
      }),
  );
  const whole = runs
    .filter((run) => run.line === line)
    .map((run) => [run.name, shown(run.flags ?? []), run.image, podmanCell(run.podman)]);
  return [...inGroups, ...whole].map((cells) => `| ${cells.map(cell).join(" | ")} |`);
}

function section(line: Line, title: string): string {
  const rows = rowsOf(line);
  const table =
    rows.length === 0
      ? []
      : ["| row | container | image | podman |", "| --- | --- | --- | --- |", ...rows, ""];
  const others = elsewhere
    .filter((other) => other.line === line)
    .map(({ name, file }) => `- ${name}: [${file}](../${file})`);
  const absent = missing
    .filter((other) => other.line === line)
    .map(({ name, why }) => `- not here: ${name}; ${why}`);
  const list = [...others, ...absent];
  return [`### ${title}`, "", ...table, ...list, ...(list.length === 0 ? [] : [""])].join("\n");
}

/** Markdown. */
export function render(): string {
  const sections = Object.entries(checklist).map(([line, title]) => section(line as Line, title));
  const containers = groups
    .filter(({ flags }) => flags.length > 0)
    .map(({ name, flags }) => `| ${cell(name)} | ${cell(shown(flags))} |`);
  return [
    introduction,
    "## Rows",
    "",
    ...sections,
    "## Containers",
    "",
    "Rows of one name in the column above share a container with these flags; `{…}` is a file that the test makes.",
    "",
    "| container | flags |",
    "| --- | --- |",
    ...containers,
    "",
  ].join("\n");
}
