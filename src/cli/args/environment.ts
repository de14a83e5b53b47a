/**
 * `--env` and `--env-file`, with Docker's rules: `KEY=VALUE` sets, `KEY` alone takes the value from the
 * caller's environment and is left out where there is none.
 * https://docs.docker.com/reference/cli/docker/container/run/#env
 */
import { open } from "node:fs/promises";
import type { Environment } from "../context.ts";
import { UsageError } from "../failure.ts";

const MAX_FILE_BYTES = 1024 * 1024;

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
  const handle = await open(path, "r").catch((error: Error) => {
    throw new UsageError(`env file '${path}' cannot be read: ${error.message}`);
  });
  try {
    // A FIFO or a device has no size to trust, so what is read is counted.
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of handle.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length;
      if (sizeBytes > MAX_FILE_BYTES)
        throw new UsageError(`env file '${path}' has more than ${MAX_FILE_BYTES} bytes`);
      chunks.push(chunk);
    }
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
    } catch {
      throw new UsageError(`env file '${path}' is not UTF-8`);
    }
    return parseEnvFile(text, path, environment);
  } finally {
    await handle.close();
  }
}
