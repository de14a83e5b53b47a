/** Docker's way to write a switch with its value: `--init=true`, `--read-only=false`, `--no-trunc=false`. */
import { type Command, Option } from "commander";
import { UsageError } from "../failure.ts";

/** Whether a switch can be turned off; why not, if not. */
const KEPT_ON: Readonly<Record<string, string>> = {
  "sig-proxy": "--sig-proxy=false is not supported: signals have nobody else to go to",
};

/** On unless they are turned off, which Docker writes with `=false` only, and we with `--no-` as well. */
const DOCKERS_POSITIVES = ["--human", "--sig-proxy"];

function keyOf(long: string): string {
  return long.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

function addValues(command: Command, long: string, set: (value: boolean) => void): void {
  for (const value of [true, false]) {
    const option = new Option(`${long}=${value}`).hideHelp();
    command.addOption(option);
    command.on(`option:${option.name()}`, () => set(value));
  }
}

function addNegated(command: Command, long: string): void {
  const positive = long.replace(/^--no-/, "--");
  const set = (value: boolean) => command.setOptionValue(keyOf(positive), value);
  addValues(command, long, (value) => set(!value));
  if (!DOCKERS_POSITIVES.includes(positive)) return;
  command.addOption(new Option(positive).hideHelp());
  addValues(command, positive, set);
}

/** Of a command and of those below it, which have their options already. */
export function addSwitchValues(command: Command): void {
  const switches = command.options.filter(
    ({ long, required, optional, hidden }) => Boolean(long) && !required && !optional && !hidden,
  );
  for (const { long = "", negate } of switches) {
    // It ends the command where it stands.
    if (long === "--version") continue;
    if (negate) {
      addNegated(command, long);
      continue;
    }
    addValues(command, long, (value) => {
      const reason = KEPT_ON[long.slice(2)];
      if (!value && reason !== undefined) throw new UsageError(reason);
      command.setOptionValue(keyOf(long), value);
    });
  }
  for (const inner of command.commands) addSwitchValues(inner);
}
