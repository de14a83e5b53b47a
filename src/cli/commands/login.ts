import type { Command } from "commander";
import { type PullFlags, pullOptionsFrom } from "../args/access.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface LoginFlags extends PullFlags {
  readonly username?: string;
  readonly password?: string;
  readonly passwordStdin?: boolean;
}

interface Typed {
  readonly username: string;
  readonly password: string;
}

async function credentialsFrom(context: CliContext, flags: LoginFlags): Promise<Typed> {
  const { ask, askSecretly, readSecret } = await import("../session/ask.ts");
  const { username, password, passwordStdin = false } = flags;
  if (password !== undefined && passwordStdin)
    throw new UsageError("--password and --password-stdin exclude each other");
  if (passwordStdin) {
    if (username === undefined) throw new UsageError("--password-stdin needs --username");
    return { username, password: await readSecret(context) };
  }
  if (username !== undefined && password !== undefined) return { username, password };
  if (context.stdin.isTTY !== true)
    throw new UsageError(
      "standard input is no terminal: name and password cannot be asked for",
      "use --username NAME --password-stdin",
    );
  return {
    username: username ?? (await ask(context, "Username: ")),
    password: password ?? (await askSecretly(context, "Password: ")),
  };
}

async function login(context: CliContext, registry: string | undefined, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { refuseFormat } = await import("../output/images.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "login");
  const flags = command.opts<LoginFlags>();
  const typed = await credentialsFrom(context, flags);
  const access = pullOptionsFrom(flags, context.env);
  const report = await operate(context, settings, async ({ library, options, reporter }) => {
    if (flags.password !== undefined)
      reporter.onNotice("other users of this machine can see --password; use --password-stdin");
    const result = await library.login(registry, typed, { ...access, ...options });
    if (result.helper === undefined)
      reporter.inform(
        `the password is in ${result.path}, not encrypted; a credential helper (credsStore) keeps it better`,
      );
    return result;
  });
  if (settings.json) await print(context, toJson(report));
  else if (!settings.quiet) await print(context, "Login Succeeded\n");
}

/** Defines `login`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Log in to a registry: the credentials are tried, and kept where Docker keeps them.")
    .argument("[registry]", "HOST or HOST:PORT; default: Docker Hub")
    .option("-u, --username <name>", "user name")
    .option("-p, --password <password>", "password; better --password-stdin")
    .option("--password-stdin", "read the password from standard input")
    .option("--insecure", "allow http and unverified TLS for the registry");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox login ghcr.io", "asks for name and password"],
      ["cat token | flamebox login -u me --password-stdin ghcr.io", "in a script"],
    ],
    notes: [
      "Credentials go to ~/.docker/config.json (config.json in $DOCKER_CONFIG, or the file of $REGISTRY_AUTH_FILE), or to the helper that this file names in credHelpers or credsStore.",
      "They are for all of a registry. What podman and skopeo have for a part of one (quay.io/team) is used, but not written.",
    ],
  });
  command.action(async (registry: string | undefined) => login(context, registry, command));
}
