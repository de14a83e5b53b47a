#!/usr/bin/env node
/**
 * What is executed as `flamebox`: runs the program beside it, `bundle.js`, with what V8 made of it the last time. Most
 * of a short command's own time is V8's, reading source text; it is read once for each command, and not again.
 *
 *     $XDG_CACHE_HOME/flamebox/  (or FLAMEBOX_HOME/cache/)
 *         code-KEY-COMMAND.bin       KEY: of the program's file and of Node
 *
 * Node 22.1 and later do this themselves; NODE_DISABLE_COMPILE_CACHE turns off both. What cannot be read or written is
 * done without, in silence. Nothing but Node's own modules is loaded here.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import nodeModule from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Script, constants } from "node:vm";

const PROGRAM = "bundle.js";
const GROUP_OR_OTHERS_WRITE = 0o022;
const MOST_BYTES = 16 << 20;
/** What was made so long ago is mostly of a program that is not here any more; any other is soon made again. */
const STALE_MS = 30 * 24 * 3600 * 1000;
/** A command's name, and nothing that a path could be made of. */
const COMMAND = /^[a-z]{1,16}$/;

type Program = (exports: object, require: NodeJS.Require, module: object, file: string, dir: string) => void;

const file = fileURLToPath(import.meta.url);
const dir = dirname(file);
const programPath = join(dir, PROGRAM);
const require = nodeModule.createRequire(import.meta.url);
const { env } = process;

function cacheDir(): string {
  if (env["FLAMEBOX_HOME"]) return join(env["FLAMEBOX_HOME"], "cache");
  return join(env["XDG_CACHE_HOME"] || join(env["HOME"] || homedir(), ".cache"), "flamebox");
}

/** It is code: nobody else may have written it. */
function readCode(path: string): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return undefined;
  }
  try {
    const { uid, mode, size } = fstatSync(fd);
    const isOurs = uid === process.getuid?.() && (mode & GROUP_OR_OTHERS_WRITE) === 0;
    return isOurs && size <= MOST_BYTES ? readFileSync(fd) : undefined;
  } finally {
    closeSync(fd);
  }
}

function writeCode(path: string, code: Buffer): void {
  const home = dirname(path);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(home)) {
    const other = join(home, name);
    if (name.startsWith("code-") && statSync(other).mtimeMs < Date.now() - STALE_MS)
      rmSync(other, { force: true });
  }
  const made = `${path}.${process.pid}`;
  writeFileSync(made, code, { mode: 0o600, flag: "wx" });
  renameSync(made, path);
}

function codePath(source: string): string {
  const { size, mtimeMs, ino } = statSync(programPath);
  const facts = [programPath, size, mtimeMs, ino, source.length, process.version, process.arch];
  const key = createHash("sha256").update(facts.join(" ")).digest("hex").slice(0, 16);
  const command = process.argv[2] ?? "";
  return join(cacheDir(), `code-${key}-${COMMAND.test(command) ? command : "other"}.bin`);
}

function runWithCode(): void {
  // One byte a character: scripts/rolldown.config.mjs leaves no others.
  const source = readFileSync(programPath, "latin1");
  const path = codePath(source);
  const cachedData = readCode(path);
  const script = new Script(nodeModule.wrap(source), {
    filename: programPath,
    cachedData,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  if (cachedData === undefined || script.cachedDataRejected === true)
    process.on("exit", (exitCode) => {
      // By now it has what the command needed, and no more.
      if (exitCode !== 0) return;
      try {
        writeCode(path, script.createCachedData());
      } catch {
        // The next command takes as long as this one did.
      }
    });
  const program = script.runInThisContext() as Program;
  program({}, require, { exports: {} }, programPath, dir);
}

const { enableCompileCache } = nodeModule as { enableCompileCache?: (dir?: string) => void };
if (enableCompileCache !== undefined) enableCompileCache(join(cacheDir(), "compiled"));
if (enableCompileCache !== undefined || env["NODE_DISABLE_COMPILE_CACHE"]) require(programPath);
else runWithCode();
