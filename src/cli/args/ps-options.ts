/**
 * The options of ps(1) behind `top NAME`, as far as they have a meaning for the processes of one container. There is no ps
 * behind it: the processes are told by the container's agent, so the image need not have one either.
 */
import { UsageError } from "../failure.ts";

/** A column that ps(1) has, by each of its names there. */
const COLUMNS = {
  user: ["user", "euser", "uname"],
  uid: ["uid", "euid"],
  pid: ["pid", "tgid"],
  ppid: ["ppid"],
  state: ["state", "s", "stat"],
  time: ["time", "cputime"],
  rss: ["rss", "rssize", "rsz"],
  comm: ["comm", "ucmd", "ucomm"],
  args: ["args", "cmd", "command"],
} as const;

export type PsColumn = keyof typeof COLUMNS;

export const PS_COLUMNS = Object.keys(COLUMNS) as readonly PsColumn[];

export interface ChosenColumn {
  readonly column: PsColumn;
  /** "" for none. */
  readonly heading: string;
}

/** Which processes, and how much of each: a container's are all shown. */
const SELECTING = /^-?[aAdefFjluvwxy]+$/;
const MAX_COLUMNS = 100;

/** `-o pid`, `-opid`, `-eo pid`, `axo pid`; the letters before the `o` select. */
const WITH_COLUMNS = /^(-?[aAdefFjluvwxy]*)o(.*)$/s;

/**
 * The columns that are asked for, undefined for the usual ones.
 * @throws UsageError for what is neither a column nor an option that changes nothing
 */
export function parsePsOptions(words: readonly string[]): readonly ChosenColumn[] | undefined {
  const chosen: ChosenColumn[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? "";
    const long = /^--format(?:=(.*))?$/s.exec(word);
    const short = word.startsWith("--") ? null : WITH_COLUMNS.exec(word);
    if (long === null && short === null) {
      if (!SELECTING.test(word)) throw unknownOption(word);
      continue;
    }
    const attached = long === null ? short?.[2] : long[1];
    const list = attached === undefined || attached === "" ? words[++i] : attached;
    if (list === undefined) throw new UsageError(`the ps option ${word} takes columns`, COLUMNS_HINT);
    chosen.push(...parseColumns(list));
  }
  if (chosen.length > MAX_COLUMNS) throw new UsageError(`more than ${MAX_COLUMNS} columns are asked for`);
  return chosen.length === 0 ? undefined : chosen;
}

const COLUMNS_HINT = `choose with -o among ${PS_COLUMNS.join(", ")}`;

function unknownOption(word: string): UsageError {
  return new UsageError(
    `'${word}' is no option of ps that top knows`,
    `every process of the container is shown; ${COLUMNS_HINT}`,
  );
}

/** `pid,comm`, or with a heading, which takes the rest: `pid=PROCESS`. */
function parseColumns(list: string): ChosenColumn[] {
  const equals = list.indexOf("=");
  const names = (equals === -1 ? list : list.slice(0, equals)).split(/[\s,]+/).filter((name) => name !== "");
  if (names.length === 0) throw new UsageError(`'${list}' are no columns`, COLUMNS_HINT);
  return names.map((name, index) => {
    const column = PS_COLUMNS.find((one) => COLUMNS[one].some((known) => known === name));
    if (column === undefined) throw new UsageError(`there is no column '${name}'`, COLUMNS_HINT);
    const isRenamed = equals !== -1 && index === names.length - 1;
    return { column, heading: isRenamed ? list.slice(equals + 1) : (HEADINGS[name] ?? name.toUpperCase()) };
  });
}

/** Where ps(1) has others than the column's name. */
const HEADINGS: Readonly<Record<string, string>> = {
  args: "COMMAND",
  comm: "COMMAND",
  state: "S",
  rssize: "RSS",
  rsz: "RSZ",
  cputime: "TIME",
  ucmd: "CMD",
  ucomm: "COMMAND",
  uname: "USER",
};
