/**
 * `--env` and `--env-file`, with Docker's rules: `KEY=VALUE` sets, `KEY` alone takes the value from the
 * caller's environment and is left out where there is none.
 * https://docs.docker.com/reference/cli/docker/container/run/#env
 */
import type { Environment } from "../context.ts";
import { UsageError } from "../failure.ts";
import { readTextFile } from "./text-file.ts";

export type EnvEntry = readonly [name: string, value: string];

/** `process.env` has a prototype: a variable named toString is not set only because objects have one. */
function lookUp(environment: Environment, name: string): string | undefined {
  return Object.hasOwn(environment, name) ? environment[name] : undefined;
}

/** One `--env` argument; undefined when the variable is to be inherited and is not set. */
export function parseEnv(argument: string, environment: Environment): EnvEntry | undefined {
  const equals = argument.indexOf("=");
  const name = equals === -1 ? argument : argument.slice(0, equals);
  if (name === "")
    throw new UsageError(`--env '${argument}' has no name before the '='`, "write KEY=VALUE, or KEY");
  if (equals !== -1) return [name, argument.slice(equals + 1)];
  const inherited = lookUp(environment, name);
  return inherited === undefined ? undefined : [name, inherited];
}

/** The text of an env file: a variable a line, `#` begins a comment line, nothing is quoted or expanded. */
export function parseEnvFile(text: string, fileName: string, environment: Environment): EnvEntry[] {
  const entries: EnvEntry[] = [];
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  for (const [index, raw] of lines.entries()) {
    const line = raw.trimStart();
    if (line === "" || line.startsWith("#")) continue;
    const where = `env file '${fileName}', line ${index + 1}`;
    const equals = line.indexOf("=");
    const name = equals === -1 ? line.trimEnd() : line.slice(0, equals);
    if (name === "") throw new UsageError(`${where}: there is no name before the '='`);
    if (/\s/.test(name)) throw new UsageError(`${where}: the name '${name}' contains white space`);
    if (line.includes("\0")) throw new UsageError(`${where}: there is a NUL byte`);
    const value = equals === -1 ? lookUp(environment, name) : line.slice(equals + 1);
    if (value !== undefined) entries.push([name, value]);
  }
  return entries;
}

export async function loadEnvFile(path: string, environment: Environment): Promise<EnvEntry[]> {
  return parseEnvFile(await readTextFile(path, "env file"), path, environment);
}
